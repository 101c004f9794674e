"""One training run: :mod:`prepare` checks it, :mod:`training` runs it, :mod:`folder` and :mod:`save` keep it."""

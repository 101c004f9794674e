"""One search by a peer, in the peers' environment: a tree of eight actions, one call of ``latency`` seconds a node.

Run by the benchmarks: python benchmarks/peer_runs.py PEER --nodes N --latency S --at-once K; prints one line of JSON.
"""

import argparse
import concurrent.futures
import contextlib
import functools
import json
import random
import threading
import time
import tracemalloc
import zlib

ACTIONS = [f"action {number}" for number in range(8)]
DEPTH = 6


def latencies(mean, spread, seed=0):
    """Seconds of one call after another: all the same, or log-normal with the same mean."""
    draw = random.Random(seed)
    while True:
        yield mean * draw.lognormvariate(-spread * spread / 2, spread) if spread else mean


class Calls:
    """The model: a sleep and a score; counts what was asked."""

    def __init__(self, latency, spread):
        self.draw, self.count, self.asked, self.lock = latencies(latency, spread), 0, 0.0, threading.Lock()

    def __call__(self, key):
        with self.lock:
            seconds = next(self.draw)
            self.count += 1
            self.asked += seconds
        if seconds:
            time.sleep(seconds)
        return (zlib.crc32(str(key).encode()) % 1000) / 1000


def treequest_serial(nodes, calls, at_once):
    """``step(..., inplace=True)``: one call after another."""
    import treequest

    algorithm = treequest.StandardMCTS(samples_per_action=1)
    state = algorithm.init_tree()
    generate = {name: _generate(name, calls) for name in ACTIONS}
    for _ in range(nodes):
        state = algorithm.step(state, generate, inplace=True)
    return len(state.tree.get_state_score_pairs())


def treequest_batch(nodes, calls, at_once):
    """``ask_batch`` and ``tell`` on a pool of threads, told as calls end."""
    import treequest

    algorithm = treequest.StandardMCTS(samples_per_action=1)
    state = algorithm.init_tree()
    generate = {name: _generate(name, calls) for name in ACTIONS}
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        pending, kept = {}, 0
        while kept < nodes:
            room = at_once - len(pending)
            if room:
                state, trials = algorithm.ask_batch(state, room, ACTIONS)
                for trial in trials:
                    parent = state.tree.get_node(trial.node_to_expand)
                    pending[pool.submit(generate[trial.action], parent.state)] = trial
            if not pending:
                raise RuntimeError("it asks for no trial, though none is under way")
            done, _ = concurrent.futures.wait(pending, return_when=concurrent.futures.FIRST_COMPLETED)
            for future in done:
                state = algorithm.tell(state, pending.pop(future).trial_id, future.result())
            kept = len(state.tree.get_state_score_pairs())
    return kept


def _generate(name, calls):
    return lambda parent: ((text := f"{parent} {name}"), calls(text))


def reasoners(most, calls, at_once, *, by_iterations=False):
    """Its MCTS: one call after another, until there are so many calls (each gives a node), or iterations."""
    from reasoners import SearchConfig, WorldModel
    from reasoners.algorithm import MCTS

    class World(WorldModel):
        def init_state(self):
            return ("root",)

        def step(self, state, action):
            new = (*state, action)
            return new, {"score": calls(new)}

        def is_terminal(self, state):
            return len(state) > DEPTH

    class Config(SearchConfig):
        def get_actions(self, state):
            return ACTIONS

        def fast_reward(self, state, action):
            return (zlib.crc32(str((state, action)).encode()) % 1000) / 1000, {}

        def reward(self, state, action, **found):
            return found["score"], {}

    search = MCTS(depth_limit=DEPTH, n_iters=10**9, output_strategy="follow_max")

    class EnoughError(Exception):
        pass

    iterate = search.iterate

    done = 0

    def until_enough(node):
        nonlocal done
        if (done if by_iterations else calls.count) >= most:
            raise EnoughError
        done += 1
        return iterate(node)

    search.iterate = until_enough
    with contextlib.suppress(EnoughError):
        search(World(), Config())
    return calls.count


def open_spiel(nodes, calls, at_once):
    """Its asynchronous MCTS: batches of evaluations on threads."""
    import numpy
    import pyspiel
    from open_spiel.python.algorithms import async_mcts

    class Evaluator(async_mcts.Evaluator):
        def prior_and_value(self, state):
            value = 2 * calls(str(state)) - 1
            legal = state.legal_actions()
            return [(action, 1 / len(legal)) for action in legal], numpy.array([value, -value])

        def evaluate(self, state):
            return self.prior_and_value(state)[1]

        def prior(self, state):
            return self.prior_and_value(state)[0]

    game = pyspiel.load_game("connect_four")  # seven actions
    bot = async_mcts.MCTSBot(
        game, 2.0, nodes, Evaluator(), solve=False, batch_size=at_once, virtual_loss=1, timeout=60.0,
        child_selection_fn=async_mcts.SearchNode.puct_value,
    )  # fmt: skip
    root = bot.mcts_search(game.new_initial_state())
    kept, pending = 0, [root]
    while pending:
        node = pending.pop()
        kept += node.explore_count > 0
        pending += node.children
    return kept


PEERS = {
    "treequest": treequest_batch,
    "treequest-serial": treequest_serial,
    "llm-reasoners": reasoners,
    "llm-reasoners-iterations": functools.partial(reasoners, by_iterations=True),
    "open_spiel": open_spiel,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--spread", type=float, default=0.0, help="of the latency's logarithm")
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--memory", action="store_true", help="trace memory instead of time")
    arguments = parser.parse_args()
    run = PEERS[arguments.peer]
    run(1, Calls(0.0, 0.0), 1)  # imports
    calls = Calls(arguments.latency, arguments.spread)
    if arguments.memory:
        tracemalloc.start()
    began = time.perf_counter()
    kept = run(arguments.nodes, calls, arguments.at_once)
    found = {"seconds": time.perf_counter() - began, "calls": calls.count, "asked": calls.asked, "nodes": kept}
    if arguments.memory:
        found["bytes"] = tracemalloc.get_traced_memory()[1]
    print(json.dumps(found))


if __name__ == "__main__":
    main()

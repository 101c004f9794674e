"""Conversations with a supporter that searches, with a trained model, or with a person who gets suggestions.

Each one is a file of its own, written after every turn. All together are ``dialogues.jsonl``, gold for a search.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

import anyio
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mctsdialog._search import Plan, SearchConfig, plan
from mctsdialog.dialogue import Dialogue, Domain, Scenario, Turn, write_dialogues
from mctsdialog.dialogue._domains import domain_option
from mctsdialog.errors import DataError
from mctsdialog.files import first_fault, inside, parse_json, read_input, write_atomically
from mctsdialog.llm import ChatModel, ChatRequest, Message, Sampling
from mctsdialog.preferences import chat_messages, parse_reply, system_prompt
from mctsdialog.roles import Roles
from mctsdialog.text import shell_word
from mctsdialog.tree import SpokenNode, StrategyNode

By: TypeAlias = Literal["plan", "trained"]
Speaker: TypeAlias = Literal["seeker", "supporter"]

_MAX_TEXT = 20_000
_MAX_TURNS = 400
_Text: TypeAlias = Annotated[str, Field(min_length=1, max_length=_MAX_TEXT, pattern=r"\S")]
_Id: TypeAlias = Annotated[str, Field(pattern=r"^[a-z0-9-]{8,40}$")]
_SEARCH: Final = SearchConfig(parallelism=4, horizon=1)  # a person waits: many short trials say more than a few long
_TRAINED: Final = Sampling(temperature=0.7, max_tokens=400)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Weighed(_Model):
    """A strategy that the supporter weighed.

    :param value: Q and ``visits`` N; ``prior`` what the strategist gave it, 0 to 1.
    :param reply: the words that would carry it out; None where it was not tried.
    """

    strategy: str
    prior: float
    value: float
    visits: int
    reply: str | None


class Said(_Model):
    """A turn of a chat.

    :param by: who said it: "person", "plan", "trained" or "model".
    :param weighed: of a planned turn, the strategies that were weighed.
    """

    speaker: Speaker
    text: _Text
    strategy: str | None = None
    by: Literal["person", "plan", "trained", "model"] = "person"
    weighed: list[Weighed] = Field(default_factory=list)


class Chat(_Model):
    """One conversation, as its file has it."""

    schema_name: Literal["mctsdialog.chat"] = Field(default="mctsdialog.chat", alias="schema")
    version: Literal[1] = 1
    id: _Id
    scene: str = Field(default="", max_length=200)
    description: str = Field(default="", max_length=2000)
    turns: list[Said] = Field(default_factory=list, max_length=_MAX_TURNS)


class NewAsked(_Model):
    """A person begins a chat."""

    scene: str = Field(default="", max_length=200)
    description: str = Field(default="", max_length=2000)


class ChatAsked(_Model):
    """A person wants something of a chat."""

    chat: _Id


class SayAsked(ChatAsked):
    """A person says something."""

    speaker: Speaker
    text: _Text
    strategy: str | None = Field(default=None, max_length=200)


class ReplyAsked(ChatAsked):
    """The supporter is to answer."""

    by: By


class ChatDesk:
    """The chats in a folder, and the models that answer in them.

    :param folder: made where it is absent.
    :param domain: of the chats.
    :param models: opens the models: the roles, and a trained model or None. Called in the studio's event loop.
    :param seconds: how long the supporter may search for a reply.
    :param has_trained: whether there is a trained model.
    :param domain_file: the name or the file that the caller named the domain by, for the command that the page shows.
    :raises DataError: for a file in it that is no chat.
    """

    def __init__(
        self,
        folder: Path,
        domain: Domain,
        models: Callable[[AsyncExitStack], tuple[Roles, ChatModel | None]],
        *,
        seconds: float = 30.0,
        has_trained: bool = False,
        domain_file: str | None = None,
    ) -> None:
        self._domain_option = domain_option(domain, domain_file)
        self.folder, self.domain = folder, domain
        self._models, self._seconds, self._has_trained = models, seconds, has_trained
        self._roles: Roles
        self._trained: ChatModel | None = None
        self._plans: dict[str, Plan] = {}
        self._locks: dict[str, anyio.Lock] = {}
        self._chats: dict[str, Chat] = {}
        for path in sorted((folder / "chats").glob("*.json")):
            if not path.name.startswith("."):
                chat = _read(path)
                self._chats[chat.id] = chat

    def open(self, closing: AsyncExitStack) -> None:
        """Open the models; ``closing`` closes them."""
        self._roles, self._trained = self._models(closing)

    def about(self) -> dict[str, Any]:
        """What the page shows before a chat is chosen."""
        chats = [
            {"id": chat.id, "scene": chat.scene, "turns": len(chat.turns), "first": chat.turns[0].text[:80]}
            if chat.turns
            else {"id": chat.id, "scene": chat.scene, "turns": 0, "first": ""}
            for chat in self._chats.values()
        ]
        return {
            "chats": chats,
            "strategies": [{"name": each.name, "description": each.description} for each in self.domain.strategies],
            "trained": self._has_trained,
            "file": str(self.folder / "dialogues.jsonl"),
            "command": f"mctsdialog search {shell_word(self.folder / 'dialogues.jsonl')} {self._domain_option}",
        }

    def chat(self, chat_id: str) -> dict[str, Any]:
        """A chat with its turns.

        :raises DataError: where there is none of that id.
        """
        return self._chat(chat_id).model_dump(mode="json", by_alias=True)

    def new(self, asked: NewAsked) -> dict[str, Any]:
        """Begin a chat."""
        chat = Chat(id=f"chat-{secrets.token_hex(6)}", scene=asked.scene.strip(), description=asked.description.strip())
        self._save(chat)
        return self.chat(chat.id)

    async def say(self, asked: SayAsked) -> dict[str, Any]:
        """Put a person's turn on a chat.

        :raises DataError: for the side whose turn it is not, and a supporter's turn without a strategy of the domain.
        """
        async with self._lock(asked.chat):
            strategy = None
            if asked.speaker == "supporter":
                strategy = self.domain.strategies.resolve(asked.strategy or "")
                if strategy is None:
                    raise DataError("a turn of the supporter needs a strategy of the domain", field="strategy")
            return self._add(asked.chat, Said(speaker=asked.speaker, text=asked.text.strip(), strategy=strategy))

    async def reply(self, asked: ReplyAsked) -> dict[str, Any]:
        """Have the supporter answer.

        :raises DataError: where it is the seeker's turn.
        :raises MctsDialogError: for what the models fail with.
        """
        async with self._lock(asked.chat):
            self._check_turn(asked.chat, "supporter")
            if asked.by == "trained":
                strategy, text = await self._by_trained(asked.chat)
                return self._add(asked.chat, Said(speaker="supporter", text=text, strategy=strategy, by="trained"))
            found = await self._planned(asked.chat)
            said = Said(
                speaker="supporter", text=found.reply, strategy=found.strategy, by="plan", weighed=weighed(found)
            )
            return self._add(asked.chat, said)

    async def suggest(self, asked: ChatAsked) -> dict[str, Any]:
        """What a search would say now: the strategies that it weighed, the best first. The chat stays as it is.

        :raises DataError: where it is the seeker's turn.
        :raises MctsDialogError: for what the models fail with.
        """
        async with self._lock(asked.chat):
            self._check_turn(asked.chat, "supporter")
            found = await self._planned(asked.chat)
            return {"weighed": [each.model_dump() for each in weighed(found)]}

    async def seeker(self, asked: ChatAsked) -> dict[str, Any]:
        """Have the seeker's role answer, for a person who plays the supporter.

        :raises DataError: where it is the supporter's turn, and where the seeker ends the conversation.
        :raises MctsDialogError: for what the model fails with.
        """
        async with self._lock(asked.chat):
            self._check_turn(asked.chat, "seeker")
            said = await self._roles.bind(self._scenario(asked.chat)).seeker.reply(self._turns(asked.chat))
            if said is None:
                raise DataError("the seeker ends the conversation here", item=asked.chat)
            return self._add(asked.chat, Said(speaker="seeker", text=said, by="model"))

    async def undo(self, asked: ChatAsked) -> dict[str, Any]:
        """Take the last turn back."""
        async with self._lock(asked.chat):
            chat = self._chat(asked.chat)
            self._save(chat.model_copy(update={"turns": chat.turns[:-1]}))
            return self.chat(asked.chat)

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _planned(self, chat_id: str) -> Plan:
        found = await plan(
            self._turns(chat_id),
            self._roles,
            _SEARCH,
            scenario=self._scenario(chat_id),
            domain=self.domain,
            max_seconds=self._seconds,
            previous=self._plans.get(chat_id),
        )
        self._plans[chat_id] = found
        return found

    async def _by_trained(self, chat_id: str) -> tuple[str, str]:
        if self._trained is None:
            raise DataError("there is no trained model here; name one with --trained", field="by")
        said = [{"role": "system", "content": system_prompt(self.domain)}, *chat_messages(self._turns(chat_id))]
        messages = tuple(Message(each["role"], each["content"]) for each in said)  # type: ignore[arg-type]
        sample = len(self._chat(chat_id).turns)
        completion = await self._trained.complete(ChatRequest(messages, _TRAINED, sample=sample, role="supporter"))
        strategy, text = parse_reply(completion.text, self.domain.strategies)
        if strategy is None or not text:
            raise DataError(f"the trained model's reply names no strategy of the domain: {completion.text[:200]!r}")
        return strategy, text

    def _chat(self, chat_id: str) -> Chat:
        if chat_id not in self._chats:
            raise DataError("there is no such chat", item=chat_id)
        return self._chats[chat_id]

    def _lock(self, chat_id: str) -> anyio.Lock:
        """One thing at a time in a chat, whoever asks for it."""
        self._chat(chat_id)
        return self._locks.setdefault(chat_id, anyio.Lock())

    def _scenario(self, chat_id: str) -> Scenario:
        chat = self._chat(chat_id)
        return Scenario(id=chat.id, scene=chat.scene, description=chat.description)

    def _turns(self, chat_id: str) -> tuple[Turn, ...]:
        return tuple(Turn(each.speaker, each.text, each.strategy) for each in self._chat(chat_id).turns)

    def _check_turn(self, chat_id: str, speaker: Speaker) -> None:
        turns = self._chat(chat_id).turns
        last = turns[-1].speaker if turns else "supporter"  # the seeker begins
        if last == speaker or len(turns) >= _MAX_TURNS:
            reason = "this chat is at its end" if len(turns) >= _MAX_TURNS else f"it is not the {speaker}'s turn"
            raise DataError(reason, item=chat_id)

    def _add(self, chat_id: str, said: Said) -> dict[str, Any]:
        self._check_turn(chat_id, said.speaker)
        chat = self._chat(chat_id)
        self._save(chat.model_copy(update={"turns": [*chat.turns, said]}))
        return self.chat(chat_id)

    def _save(self, chat: Chat) -> None:
        """Write a chat, and the dialogues that all chats are.

        :raises OSError: where that fails; nothing is changed then.
        """
        text = json.dumps(chat.model_dump(mode="json", by_alias=True), ensure_ascii=False, indent=1)
        write_atomically(inside(self.folder, f"chats/{chat.id}.json"), f"{text}\n")
        self._chats[chat.id] = chat
        file = inside(self.folder, "dialogues.jsonl")
        write_dialogues(file, dialogues_of(list(self._chats.values())), domain=self.domain)


def dialogues_of(chats: Sequence[Chat]) -> list[Dialogue]:
    """The chats that a search can take as gold: those in which the supporter has spoken."""
    return [
        Dialogue(
            id=chat.id,
            scene=chat.scene,
            description=chat.description,
            source="studio",
            turns=tuple(Turn(each.speaker, each.text, each.strategy) for each in chat.turns),
        )
        for chat in chats
        if any(each.speaker == "supporter" for each in chat.turns)
    ]


def weighed(found: Plan) -> list[Weighed]:
    """The strategies of a plan, the recommended one first and then those of most visits."""
    tree = found.tree
    nodes = [node for node in tree.children(tree.root) if isinstance(node, StrategyNode)]
    made = [
        Weighed(
            strategy=node.strategy,
            prior=float(node.prior),
            value=float(node.value),
            visits=node.visits,
            reply=node.supporter if isinstance(node, SpokenNode) else None,
        )
        for node in nodes
    ]
    return sorted(made, key=lambda each: (each.strategy != found.strategy, -each.visits, -each.prior))


def _read(path: Path) -> Chat:
    try:
        data = read_input(path)
        parse_json(data)
        return Chat.model_validate_json(data)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", file=path) from error
    except ValidationError as error:
        place, message = first_fault(error)
        raise DataError(f"is no chat: {message}", file=path, field=".".join(map(str, place)) or None) from error
    except ValueError as error:
        raise DataError(f"is no chat: {error}", file=path) from error

"""How a model is called: protocol, servers, embedded model, and layers around any model."""

from mctsdialog._public import publish as _publish
from mctsdialog.llm.adaptive import AdaptiveLimits
from mctsdialog.llm.base import (
    ChatModel,
    ChatRequest,
    Completion,
    FinishReason,
    Message,
    MessageRole,
    ModelLayer,
    ReasoningEffort,
    Sampling,
    TokenLogprobs,
    Usage,
    estimate_tokens,
    request_key,
)
from mctsdialog.llm.budget import Budget, BudgetedModel, Price, Spending
from mctsdialog.llm.cache import CachedModel, CacheInfo, CacheMode, CacheStats, ResponseCache
from mctsdialog.llm.layers import SamplingModel, build_stack
from mctsdialog.llm.limits import LimitedModel, Limits
from mctsdialog.llm.local import LocalChat, find_model_file
from mctsdialog.llm.meter import Meter, MeteredModel, Tally
from mctsdialog.llm.named import chat_model
from mctsdialog.llm.openai import OpenAIChat
from mctsdialog.llm.retry import Retry, RetryingModel
from mctsdialog.llm.scripted import ScriptedModel
from mctsdialog.llm.singleflight import SingleFlight
from mctsdialog.llm.wire import ResponseFormat

__all__ = [
    "AdaptiveLimits",
    "Budget",
    "BudgetedModel",
    "CacheInfo",
    "CacheMode",
    "CacheStats",
    "CachedModel",
    "ChatModel",
    "ChatRequest",
    "Completion",
    "FinishReason",
    "LimitedModel",
    "Limits",
    "LocalChat",
    "Message",
    "MessageRole",
    "Meter",
    "MeteredModel",
    "ModelLayer",
    "OpenAIChat",
    "Price",
    "ReasoningEffort",
    "ResponseCache",
    "ResponseFormat",
    "Retry",
    "RetryingModel",
    "Sampling",
    "SamplingModel",
    "ScriptedModel",
    "SingleFlight",
    "Spending",
    "Tally",
    "TokenLogprobs",
    "Usage",
    "build_stack",
    "chat_model",
    "estimate_tokens",
    "find_model_file",
    "request_key",
]

_publish(globals())

"""How a model is called: protocol, servers, embedded model, and layers around any model."""

from mctsdialog._public import publish as _publish
from mctsdialog.llm._local import LocalChat, find_model_file
from mctsdialog.llm._named import chat_model
from mctsdialog.llm._openai.client import OpenAIChat
from mctsdialog.llm._scripted import ScriptedModel
from mctsdialog.llm._wire import ResponseFormat
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
from mctsdialog.llm.layers._adaptive import AdaptiveLimits
from mctsdialog.llm.layers._budget import Budget, BudgetedModel, Price, Spending
from mctsdialog.llm.layers._cache import CachedModel, CacheInfo, CacheMode, CacheStats, ResponseCache
from mctsdialog.llm.layers._limits import LimitedModel, Limits
from mctsdialog.llm.layers._meter import Meter, MeteredModel, Tally
from mctsdialog.llm.layers._retry import Retry, RetryingModel
from mctsdialog.llm.layers._singleflight import SingleFlight
from mctsdialog.llm.layers._stack import SamplingModel, build_stack

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

"""How a model is called: protocol, servers, embedded model, and layers around any model."""

from mctsdialog.llm.base import ChatModel, ChatRequest, Completion, Message, MessageRole, Sampling

__all__ = ["ChatModel", "ChatRequest", "Completion", "Message", "MessageRole", "Sampling"]

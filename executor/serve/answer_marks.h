// What families of models write around their reasoning and their calls. In some vocabularies these are special tokens, which
// otherwise leave no text: grammars and parsers have to see them.
#pragma once

#include <array>

namespace exo::serve::marks {

inline constexpr const char *kThink = "<think>", *kEndThink = "</think>";
inline constexpr const char *kToolCall = "<tool_call>", *kEndToolCall = "</tool_call>";   // Hermes
inline constexpr const char *kMistralCalls = "[TOOL_CALLS]", *kMistralArgs = "[ARGS]";
inline constexpr const char* kPythonTag = "<|python_tag|>";                                // Llama
inline constexpr std::array kAll = {kThink, kEndThink, kToolCall, kEndToolCall, kMistralCalls, kMistralArgs, kPythonTag};

}  // namespace exo::serve::marks

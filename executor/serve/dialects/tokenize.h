// POST /tokenize and /detokenize: text to ids and back, by the model's tokenizer.
#pragma once

#include "executor/serve/completion.h"
#include "executor/serve/dialects/fields.h"

namespace exo::serve {

/// {content | prompt, add_special, parse_special, with_pieces} or {messages, tools, …} as chat completions have them.
/// → {tokens, count, max_model_len}
Outcome<Json> tokenize(const Json& body, const ModelInfo& model);
/// {tokens} → {content, prompt}
Outcome<Json> detokenize(const Json& body, const ModelInfo& model);

}  // namespace exo::serve

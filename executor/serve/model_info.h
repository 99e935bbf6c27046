// What the engine's clients are told of a plan's model.
#pragma once

#include <functional>
#include <string>

#include "codegen/plan.h"
#include "executor/serve/completion.h"

namespace exo::serve {

/// `directory`: where the model's tokenizer and chat template are, a directory or a GGUF file; empty for none. What is not there, or cannot be
/// used, is null in the result; why it cannot goes to `warn`.
ModelInfo modelInfoOf(const plan::Plan& plan, const std::string& directory, const std::function<void(const std::string&)>& warn);

}  // namespace exo::serve

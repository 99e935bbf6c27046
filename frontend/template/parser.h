// Template text to tree. Tags: if, for, set, macro, call, filter, with, generation, print, break, continue, raw. What Jinja has
// beyond these (block, extends, include, import, recursive loops, *args) is refused by name with its line.
#pragma once

#include "frontend/template/ast.h"

namespace exo::jinja {

/// Errors name the line; nesting beyond kMaxTreeHeight is an error, never a stack overflow.
Result<Body> parseTemplate(std::string_view source);

}  // namespace exo::jinja

// Regular expressions as grammars: the part of ECMA 262 that says which texts there are. Literals, . \d \w \s and their capitals,
// [classes], groups, alternatives, * + ? {m,n} (lazy or not: the same texts), ^ and $ at the ends, \t \n \r \f \v \0 \xHH \uHHHH \u{…}.
// What looks around (assertions, \b, back references) is refused by name.
#pragma once

#include <functional>
#include <string_view>

#include "executor/serve/grammar/grammar.h"

namespace exo::serve {

/// How a character is spelt where the text stands (inside a JSON string some are escaped). Null: in plain UTF-8.
using Spelling = std::function<Expr(const CodePoints&)>;

/// All texts in which the expression is found: where ^ or $ is not said, anything may stand around it.
/// Errors: kInvalidInput with the offset; kUnsupported.
Result<Expr> regexExpression(std::string_view pattern, const Spelling& spelling = nullptr);

}  // namespace exo::serve

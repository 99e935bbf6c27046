// Splits a template into text and the tokens inside its tags, with the whitespace rules of trim_blocks and lstrip_blocks
// (both on, as transformers sets them) and the - and + signs of tags. Comments vanish here, raw blocks become text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ir/base/result.h"

namespace exo::jinja {

enum class TokenKind : uint8_t { kText, kVariableBegin, kVariableEnd, kBlockBegin, kBlockEnd, kName, kString, kInteger, kFloat, kOperator, kEnd };

struct Token {
  TokenKind kind = TokenKind::kEnd;
  int line = 1;
  std::string text;     // of names, operators, text, and strings (escapes resolved)
  int64_t integer = 0;
  double real = 0;

  bool isOperator(std::string_view op) const { return kind == TokenKind::kOperator && text == op; }
  bool isName(std::string_view name) const { return kind == TokenKind::kName && text == name; }
};

/// As error messages name a token: "end of template", "'%}'", "'foo'".
std::string describe(const Token& token);

/// Every error of the template language starts so: "chat template, line 3: …".
Error templateError(int line, const std::string& message, ErrorCode code = ErrorCode::kInvalidInput);

/// The last token is kEnd. Errors name the line.
Result<std::vector<Token>> tokenize(std::string_view source);

}  // namespace exo::jinja

// UTF-8 and the few character classes that the tokenizer file format speaks of. Stateless, thread-safe.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace exo::tokenizer {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

/// What stands at a position of possibly broken UTF-8 text.
struct Utf8Sequence {
  enum class Kind { kValid, kInvalid, kIncomplete };
  Kind kind;
  size_t size_bytes;  ///< valid: the whole sequence; otherwise the maximal subpart (Unicode 3.9, table 3-8), at least 1
};

/// Looks at text[position]; position must be inside. kIncomplete: the text ends before the sequence does.
Utf8Sequence classifyUtf8(std::string_view text, size_t position);

/// Offset of the first byte that is not part of a valid sequence, or nothing when all is valid.
std::optional<size_t> firstInvalidUtf8(std::string_view text);

/// Reads the code point at `position` of valid UTF-8 and moves `position` behind it.
char32_t nextCodePoint(std::string_view valid_text, size_t& position);

/// Number of bytes of the sequence that begins with `lead` (of valid UTF-8).
size_t sequenceSize(char lead);

void appendUtf8(std::string& out, char32_t code_point);

bool isSpace(char32_t code_point);        ///< White_Space
bool isWord(char32_t code_point);         ///< Alphabetic, Mark, decimal digit, connector punctuation, join control
bool isNumeric(char32_t code_point);      ///< Nd, Nl, No
bool isPunctuation(char32_t code_point);  ///< P*, or an ASCII symbol

}  // namespace exo::tokenizer

// UTF-8 well-formedness after table 3-7 of the Unicode Standard; categories from utf8proc.
#include "frontend/tokenizer/utf8.h"

#include <utf8proc.h>

namespace exo::tokenizer {
namespace {

struct LeadByte {
  size_t size;              // 0: cannot begin a sequence
  unsigned char low, high;  // what the second byte may be
};

LeadByte leadByte(unsigned char lead) {
  if (lead < 0x80) return {1, 0, 0};
  if (lead < 0xC2) return {0, 0, 0};
  if (lead < 0xE0) return {2, 0x80, 0xBF};
  if (lead == 0xE0) return {3, 0xA0, 0xBF};
  if (lead == 0xED) return {3, 0x80, 0x9F};
  if (lead < 0xF0) return {3, 0x80, 0xBF};
  if (lead == 0xF0) return {4, 0x90, 0xBF};
  if (lead < 0xF4) return {4, 0x80, 0xBF};
  if (lead == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

utf8proc_category_t category(char32_t code_point) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(code_point));
}

}  // namespace

Utf8Sequence classifyUtf8(std::string_view text, size_t position) {
  using Kind = Utf8Sequence::Kind;
  const LeadByte lead = leadByte(static_cast<unsigned char>(text[position]));
  if (lead.size == 0) return {Kind::kInvalid, 1};
  for (size_t i = 1; i < lead.size; ++i) {
    if (position + i == text.size()) return {Kind::kIncomplete, i};
    const auto byte = static_cast<unsigned char>(text[position + i]);
    const bool fits = i == 1 ? byte >= lead.low && byte <= lead.high : (byte & 0xC0) == 0x80;
    if (!fits) return {Kind::kInvalid, i};
  }
  return {Kind::kValid, lead.size};
}

std::optional<size_t> firstInvalidUtf8(std::string_view text) {
  size_t position = 0;
  while (position < text.size()) {
    const Utf8Sequence sequence = classifyUtf8(text, position);
    if (sequence.kind != Utf8Sequence::Kind::kValid) return position;
    position += sequence.size_bytes;
  }
  return std::nullopt;
}

size_t sequenceSize(char lead) {
  const size_t size = leadByte(static_cast<unsigned char>(lead)).size;
  return size == 0 ? 1 : size;
}

char32_t nextCodePoint(std::string_view valid_text, size_t& position) {
  const auto lead = static_cast<unsigned char>(valid_text[position]);
  const size_t size = sequenceSize(valid_text[position]);
  char32_t code_point = size == 1 ? lead : lead & (0xFF >> (size + 1));
  for (size_t i = 1; i < size; ++i) code_point = code_point << 6 | (valid_text[position + i] & 0x3F);
  position += size;
  return code_point;
}

void appendUtf8(std::string& out, char32_t code_point) {
  utf8proc_uint8_t bytes[4];
  const auto size = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code_point), bytes);
  out.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(size));
}

bool isSpace(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 0x09 && c <= 0x0D);
  if (c == 0x85) return true;
  const auto kind = category(c);
  return kind == UTF8PROC_CATEGORY_ZS || kind == UTF8PROC_CATEGORY_ZL || kind == UTF8PROC_CATEGORY_ZP;
}

bool isWord(char32_t c) {
  const auto kind = category(c);
  const bool letter_or_mark = kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_ME;
  const bool other_alphabetic = (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
                                (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
  return letter_or_mark || kind == UTF8PROC_CATEGORY_ND || kind == UTF8PROC_CATEGORY_NL ||
         kind == UTF8PROC_CATEGORY_PC || other_alphabetic || c == 0x200C || c == 0x200D;
}

bool isNumeric(char32_t c) {
  const auto kind = category(c);
  return kind == UTF8PROC_CATEGORY_ND || kind == UTF8PROC_CATEGORY_NL || kind == UTF8PROC_CATEGORY_NO;
}

bool isPunctuation(char32_t c) {
  if (c < 0x80) return (c > 0x20 && c < 0x30) || (c > 0x39 && c < 0x41) || (c > 0x5A && c < 0x61) || (c > 0x7A && c < 0x7F);
  const auto kind = category(c);
  return kind >= UTF8PROC_CATEGORY_PC && kind <= UTF8PROC_CATEGORY_PO;
}

}  // namespace exo::tokenizer

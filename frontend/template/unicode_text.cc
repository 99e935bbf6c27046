#include "frontend/template/unicode_text.h"

#include <utf8proc.h>

#include <algorithm>

namespace exo::jinja {
namespace {

const utf8proc_uint8_t* bytes(std::string_view text) { return reinterpret_cast<const utf8proc_uint8_t*>(text.data()); }

size_t previousStart(std::string_view text, size_t end) {
  do --end;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80);
  return end;
}

char32_t codeBefore(std::string_view text, size_t end) {
  size_t start = previousStart(text, end);
  return nextCodePoint(text, start);
}

/// The upper case of the few letters that become several.
const char* specialUpper(char32_t code) {
  switch (code) {
    case 0xDF: return "SS";
    case 0xFB00: return "FF";
    case 0xFB01: return "FI";
    case 0xFB02: return "FL";
    case 0xFB03: return "FFI";
    case 0xFB04: return "FFL";
    case 0xFB05:
    case 0xFB06: return "ST";
    default: return nullptr;
  }
}

void appendUpper(std::string& out, char32_t code) {
  if (const char* special = specialUpper(code)) {
    out += special;
  } else {
    appendUtf8(out, static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(code))));
  }
}

void appendLower(std::string& out, char32_t code) { appendUtf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code)))); }

void appendTitle(std::string& out, char32_t code) {
  if (const char* special = specialUpper(code)) {
    out += special[0];
    out += lowerCase(special + 1);
  } else {
    appendUtf8(out, static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(code))));
  }
}

template <class Keep>
std::string_view strip(std::string_view text, Sides sides, const Keep& is_stripped) {
  size_t begin = 0, end = text.size();
  while (sides != Sides::kRight && begin < end) {
    size_t next = begin;
    if (!is_stripped(nextCodePoint(text, next))) break;
    begin = next;
  }
  while (sides != Sides::kLeft && begin < end && is_stripped(codeBefore(text, end))) end = previousStart(text, end);
  return text.substr(begin, end - begin);
}

bool isLineBreak(char32_t code) {
  return code == '\n' || code == '\r' || code == 0x0B || code == 0x0C || (code >= 0x1C && code <= 0x1E) || code == 0x85 || code == 0x2028 || code == 0x2029;
}

utf8proc_category_t category(char32_t code) { return utf8proc_category(static_cast<utf8proc_int32_t>(code)); }

}  // namespace

char32_t nextCodePoint(std::string_view text, size_t& position) {
  auto lead = static_cast<unsigned char>(text[position]);
  if (lead < 0x80) {
    ++position;
    return lead;
  }
  utf8proc_int32_t code = 0xFFFD;
  auto used = utf8proc_iterate(bytes(text) + position, static_cast<utf8proc_ssize_t>(text.size() - position), &code);
  if (used < 1) {  // not reached for valid text; never loops
    ++position;
    return 0xFFFD;
  }
  position += static_cast<size_t>(used);
  return static_cast<char32_t>(code);
}

void appendUtf8(std::string& out, char32_t code) {
  if (code < 0x80) {
    out += static_cast<char>(code);
    return;
  }
  utf8proc_uint8_t buffer[4];
  auto used = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code), buffer);
  out.append(reinterpret_cast<const char*>(buffer), static_cast<size_t>(used));
}

bool isValidUtf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    if (static_cast<unsigned char>(text[i]) < 0x80) {
      ++i;
      continue;
    }
    utf8proc_int32_t code;
    auto used = utf8proc_iterate(bytes(text) + i, static_cast<utf8proc_ssize_t>(text.size() - i), &code);
    if (used < 1) return false;
    i += static_cast<size_t>(used);
  }
  return true;
}

size_t countCodePoints(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

size_t byteOffset(std::string_view text, size_t index) {
  size_t i = 0;
  while (index > 0 && i < text.size()) {
    nextCodePoint(text, i);
    --index;
  }
  return i;
}

std::vector<std::string> splitCodePoints(std::string_view text) {
  std::vector<std::string> out;
  for (size_t i = 0; i < text.size();) {
    size_t start = i;
    nextCodePoint(text, i);
    out.emplace_back(text.substr(start, i - start));
  }
  return out;
}

bool isSpace(char32_t code) {
  if (code < 0x80) return code == ' ' || (code >= 0x09 && code <= 0x0D) || (code >= 0x1C && code <= 0x1F);
  return code == 0x85 || code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 ||
         code == 0x202F || code == 0x205F || code == 0x3000;
}

bool isPrintable(char32_t code) {
  if (code < 0x80) return code >= 0x20 && code != 0x7F;
  switch (category(code)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP: return false;
    default: return true;
  }
}

bool isUpperCase(char32_t code) { return category(code) == UTF8PROC_CATEGORY_LU; }
bool isLowerCase(char32_t code) { return category(code) == UTF8PROC_CATEGORY_LL; }
bool isLetter(char32_t code) {
  auto c = category(code);
  return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO;
}
bool isDecimalDigit(char32_t code) { return category(code) == UTF8PROC_CATEGORY_ND; }
bool isNumeric(char32_t code) {
  auto c = category(code);
  return c == UTF8PROC_CATEGORY_ND || c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_NO;
}

std::string_view stripSpace(std::string_view text, Sides sides) { return strip(text, sides, isSpace); }

std::string_view stripSet(std::string_view text, std::string_view set, Sides sides) {
  std::u32string codes;
  for (size_t i = 0; i < set.size();) codes += nextCodePoint(set, i);
  std::sort(codes.begin(), codes.end());
  return strip(text, sides, [&](char32_t code) { return std::binary_search(codes.begin(), codes.end(), code); });
}

std::string upperCase(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) appendUpper(out, nextCodePoint(text, i));
  return out;
}

std::string lowerCase(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) appendLower(out, nextCodePoint(text, i));
  return out;
}

std::string capitalized(std::string_view text) {
  if (text.empty()) return {};
  std::string out;
  size_t i = 0;
  appendTitle(out, nextCodePoint(text, i));
  return out + lowerCase(text.substr(i));
}

std::string titleCase(std::string_view text) {
  std::string out;
  bool after_letter = false;
  for (size_t i = 0; i < text.size();) {
    char32_t code = nextCodePoint(text, i);
    after_letter ? appendLower(out, code) : appendTitle(out, code);
    after_letter = isUpperCase(code) || isLowerCase(code) || category(code) == UTF8PROC_CATEGORY_LT;
  }
  return out;
}

std::vector<std::string_view> splitSpace(std::string_view text, int64_t limit) {
  std::vector<std::string_view> out;
  text = stripSpace(text, Sides::kLeft);
  while (!text.empty()) {
    if (limit >= 0 && static_cast<int64_t>(out.size()) >= limit) {
      out.push_back(text);
      break;
    }
    size_t end = 0;
    while (end < text.size()) {
      size_t next = end;
      if (isSpace(nextCodePoint(text, next))) break;
      end = next;
    }
    out.push_back(text.substr(0, end));
    text = stripSpace(text.substr(end), Sides::kLeft);
  }
  return out;
}

std::vector<std::string_view> rsplitSpace(std::string_view text, int64_t limit) {
  std::vector<std::string_view> out;
  text = stripSpace(text, Sides::kRight);
  while (!text.empty()) {
    if (limit >= 0 && static_cast<int64_t>(out.size()) >= limit) {
      out.push_back(text);
      break;
    }
    size_t begin = text.size();
    while (begin > 0 && !isSpace(codeBefore(text, begin))) begin = previousStart(text, begin);
    out.push_back(text.substr(begin));
    text = stripSpace(text.substr(0, begin), Sides::kRight);
  }
  std::reverse(out.begin(), out.end());
  return out;
}

std::vector<std::string_view> splitOn(std::string_view text, std::string_view separator, int64_t limit) {
  std::vector<std::string_view> out;
  while (limit < 0 || static_cast<int64_t>(out.size()) < limit) {
    size_t at = text.find(separator);
    if (at == std::string_view::npos) break;
    out.push_back(text.substr(0, at));
    text.remove_prefix(at + separator.size());
  }
  out.push_back(text);
  return out;
}

std::vector<std::string_view> rsplitOn(std::string_view text, std::string_view separator, int64_t limit) {
  std::vector<std::string_view> out;
  while (limit < 0 || static_cast<int64_t>(out.size()) < limit) {
    size_t at = text.rfind(separator);
    if (at == std::string_view::npos) break;
    out.push_back(text.substr(at + separator.size()));
    text = text.substr(0, at);
  }
  out.push_back(text);
  std::reverse(out.begin(), out.end());
  return out;
}

std::vector<std::string_view> splitLines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> out;
  size_t start = 0;
  for (size_t i = 0; i < text.size();) {
    size_t end = i;
    char32_t code = nextCodePoint(text, i);
    if (!isLineBreak(code)) continue;
    if (code == '\r' && i < text.size() && text[i] == '\n') ++i;
    out.push_back(text.substr(start, (keep_ends ? i : end) - start));
    start = i;
  }
  if (start < text.size()) out.push_back(text.substr(start));
  return out;
}

}  // namespace exo::jinja

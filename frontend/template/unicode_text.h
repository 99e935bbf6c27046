// UTF-8 text as Python's str sees it: positions are code points, whitespace and case are Unicode's. Case mapping is one to
// one plus the sharp s and the Latin ligatures; other special casings (final sigma, dotted I) follow the simple mapping.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace exo::jinja {

/// Reads the code point at `position` (valid UTF-8) and moves past it.
char32_t nextCodePoint(std::string_view text, size_t& position);
void appendUtf8(std::string& out, char32_t code);
bool isValidUtf8(std::string_view text);
size_t countCodePoints(std::string_view text);
/// Byte offset of code point `index` (or the size when past the end).
size_t byteOffset(std::string_view text, size_t index);
std::vector<std::string> splitCodePoints(std::string_view text);

bool isSpace(char32_t code);
/// False for what Python's repr escapes.
bool isPrintable(char32_t code);
bool isUpperCase(char32_t code);
bool isLowerCase(char32_t code);
bool isLetter(char32_t code);
bool isDecimalDigit(char32_t code);
bool isNumeric(char32_t code);

enum class Sides { kLeft, kRight, kBoth };
std::string_view stripSpace(std::string_view text, Sides sides);
std::string_view stripSet(std::string_view text, std::string_view set, Sides sides);

std::string upperCase(std::string_view text);
std::string lowerCase(std::string_view text);
std::string capitalized(std::string_view text);
/// str.title(): a letter after a non-letter becomes upper case.
std::string titleCase(std::string_view text);

/// str.split(): on runs of whitespace, at most `limit` times (negative: all).
std::vector<std::string_view> splitSpace(std::string_view text, int64_t limit);
std::vector<std::string_view> rsplitSpace(std::string_view text, int64_t limit);
/// separator: not empty.
std::vector<std::string_view> splitOn(std::string_view text, std::string_view separator, int64_t limit);
std::vector<std::string_view> rsplitOn(std::string_view text, std::string_view separator, int64_t limit);
std::vector<std::string_view> splitLines(std::string_view text, bool keep_ends);

}  // namespace exo::jinja

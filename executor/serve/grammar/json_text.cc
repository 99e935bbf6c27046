// The pieces of JSON texts: strings, numbers, arrays, objects.
#include <algorithm>
#include <array>
#include <limits>
#include <map>

#include "executor/serve/grammar/json_grammar.h"

namespace exo::serve::json {
namespace {

constexpr int64_t kLargest = 9'999'999'999'999'999;   // 16 digits
const CodePoints kPlain = complement({{0, 0x1f}, {'"', '"'}, {'\\', '\\'}});

CodePoints intersection(const CodePoints& a, const CodePoints& b) {
  CodePoints outside = complement(a);
  const CodePoints other = complement(b);
  outside.insert(outside.end(), other.begin(), other.end());
  return complement(std::move(outside));
}

Expr anyOf(std::string_view characters) {
  ByteSet set;
  for (const char c : characters) set.set(static_cast<unsigned char>(c));
  return byteOf(set);
}

Expr digit(char from = '0', char to = '9') {
  ByteSet set;
  for (char c = from; c <= to; ++c) set.set(static_cast<unsigned char>(c));
  return byteOf(set);
}

Expr digits(uint32_t min, uint32_t max) { return repeat(digit(), min, max); }

/// Numbers of as many digits as both bounds have.
Expr sameLength(const std::string& from, const std::string& to) {
  if (from.empty()) return sequence({});
  const auto length = static_cast<uint32_t>(from.size());
  if (from.find_first_not_of('0') == std::string::npos && to.find_first_not_of('9') == std::string::npos) return digits(length, length);   // else two ways at every digit
  const std::string from_rest = from.substr(1), to_rest = to.substr(1);
  if (from[0] == to[0]) return sequence({digit(from[0], from[0]), sameLength(from_rest, to_rest)});
  const auto count = static_cast<uint32_t>(from_rest.size());
  const std::string nines(count, '9'), zeros(count, '0');
  std::vector<Expr> ways = {sequence({digit(from[0], from[0]), sameLength(from_rest, nines)}), sequence({digit(to[0], to[0]), sameLength(zeros, to_rest)})};
  if (from[0] + 1 < to[0]) ways.push_back(sequence({digit(static_cast<char>(from[0] + 1), static_cast<char>(to[0] - 1)), digits(count, count)}));
  return choice(std::move(ways));
}

/// 0 <= from. Without a sign or leading zeros.
Expr naturalBetween(uint64_t from, uint64_t to) {
  std::vector<Expr> ways;
  for (uint64_t first = 0, next = 10; from <= to; first = next, next = next > std::numeric_limits<uint64_t>::max() / 10 ? std::numeric_limits<uint64_t>::max() : next * 10) {
    const uint64_t low = std::max(from, first), high = std::min(to, next - 1);
    if (low <= high) ways.push_back(sameLength(std::to_string(low), std::to_string(high)));
    if (high >= to) break;
  }
  return choice(std::move(ways));
}

uint64_t magnitude(int64_t value) { return value < 0 ? ~static_cast<uint64_t>(value) + 1 : static_cast<uint64_t>(value); }

Expr fraction() {
  return sequence({literal("."), digits(1, 16)});
}

/// Natural numbers of [from, to], and with what is behind the point as far as they stay inside.
Expr numberFrom(uint64_t from, uint64_t to) {
  std::vector<Expr> ways = {naturalBetween(from, to)};
  if (from < to) ways.push_back(sequence({naturalBetween(from, to - 1), fraction()}));
  return choice(std::move(ways));
}

/// `natural` of the magnitudes on both sides of zero.
Expr signedBetween(int64_t min, int64_t max, Expr (*natural)(uint64_t, uint64_t)) {
  std::vector<Expr> ways;
  if (min <= max && max >= 0) ways.push_back(natural(static_cast<uint64_t>(std::max<int64_t>(min, 0)), static_cast<uint64_t>(max)));
  if (min <= max && min < 0) ways.push_back(sequence({literal("-"), natural(max < 0 ? magnitude(max) : 0, magnitude(min))}));
  return choice(std::move(ways));
}

/// A tree of the texts' characters: all strings but those that end at a leaf.
Expr otherThan(std::vector<std::u32string> texts, size_t depth) {
  CodePoints first;
  std::map<char32_t, std::vector<std::u32string>> by_next;
  bool ends_here = false;
  for (std::u32string& text : texts) {
    if (text.size() == depth) ends_here = true;
    else by_next[text[depth]].push_back(std::move(text));
  }
  std::vector<Expr> ways;
  for (auto& [c, rest] : by_next) {
    first.emplace_back(c, c);
    ways.push_back(sequence({spelt({{c, c}}), otherThan(std::move(rest), depth + 1)}));
  }
  ways.push_back(sequence({spelt(complement(std::move(first))), repeat(spelt(complement({})), 0, kUnbounded)}));
  if (!ends_here) ways.push_back(sequence({}));
  return choice(std::move(ways));
}

std::u32string codePoints(const std::string& text) {
  std::u32string points;
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t size = lead < 0x80 ? 1 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    char32_t point = size == 1 ? lead : lead & (0x7fu >> size);
    for (size_t k = 1; k < size && i + k < text.size(); ++k) point = point << 6 | (static_cast<unsigned char>(text[i + k]) & 63);
    points += point;
    i += size;
  }
  return points;
}

}  // namespace

Expr space() {
  static const Expr kSpace = choice({sequence({}), literal(" "), sequence({literal("\n"), repeat(anyOf(" \t"), 0, 40)})});
  return kSpace;
}

Expr spelt(const CodePoints& points) {
  std::vector<Expr> ways;
  if (const CodePoints plain = intersection(points, kPlain); !plain.empty()) ways.push_back(character(plain));
  constexpr std::array<std::pair<char, char>, 7> kEscapes = {{{'"', '"'}, {'\\', '\\'}, {'\b', 'b'}, {'\f', 'f'}, {'\n', 'n'}, {'\r', 'r'}, {'\t', 't'}}};
  for (uint32_t c = 0; c <= '\\'; ++c) {
    if ((c > 0x1f && c != '"' && c != '\\') || intersection(points, {{c, c}}).empty()) continue;
    const auto escape = std::find_if(kEscapes.begin(), kEscapes.end(), [&](const auto& e) { return e.first == static_cast<char>(c); });
    const char hex[] = {'\\', 'u', '0', '0', c < 16 ? '0' : '1', "0123456789abcdef"[c & 15]};
    ways.push_back(escape != kEscapes.end() ? sequence({literal("\\"), literal(std::string_view(&escape->second, 1))}) : literal(std::string_view(hex, sizeof hex)));
  }
  return choice(std::move(ways));
}

Expr stringCharacter() {
  static const Expr kCharacter = [] {
    const Expr hex = anyOf("0123456789abcdefABCDEF");
    const auto unit = [&](const Expr& first, const Expr& second) { return sequence({literal("\\u"), first, second, hex, hex}); };
    const Expr any_unit = choice({unit(anyOf("0123456789abcefABCEF"), hex), unit(anyOf("dD"), anyOf("01234567"))});
    const Expr pair = sequence({unit(anyOf("dD"), anyOf("89abAB")), unit(anyOf("dD"), anyOf("cdefCDEF"))});   // of surrogates
    return choice({character(kPlain), sequence({literal("\\"), anyOf("\"\\/bfnrt")}), any_unit, pair});
  }();
  return kCharacter;
}

Expr string(Expr characters) { return sequence({literal("\""), std::move(characters), literal("\"")}); }

Expr stringOtherThan(const std::vector<std::string>& texts) {
  std::vector<std::u32string> points;
  for (const std::string& text : texts) points.push_back(codePoints(text));
  return string(otherThan(std::move(points), 0));
}

Expr integerBetween(std::optional<int64_t> min, std::optional<int64_t> max) {
  return signedBetween(min.value_or(std::min(-kLargest, max.value_or(0))), max.value_or(std::max(kLargest, min.value_or(0))), naturalBetween);
}

Expr numberBetween(std::optional<int64_t> min, std::optional<int64_t> max) {
  if (min || max) return signedBetween(min.value_or(std::min(-kLargest, max.value_or(0))), max.value_or(std::max(kLargest, min.value_or(0))), numberFrom);
  static const Expr kExponent = sequence({anyOf("eE"), optional(anyOf("+-")), digits(1, 2)});
  static const Expr kNumber = sequence({optional(literal("-")), choice({literal("0"), sequence({digit('1'), digits(0, 15)})}), optional(fraction()), optional(kExponent)});
  return kNumber;
}

Expr array(const std::vector<Expr>& prefix, const Expr& item, uint32_t min, uint32_t max) {
  const Expr comma = sequence({literal(","), space()});
  const Expr more = item ? repeat(sequence({comma, item}), min, max) : sequence({});
  std::vector<Expr> parts = {literal("["), space()};
  if (!prefix.empty()) {
    for (size_t i = 0; i < prefix.size(); ++i) {
      if (i > 0) parts.push_back(comma);
      parts.push_back(prefix[i]);
    }
    parts.push_back(more);
  } else if (item && max > 0) {
    const Expr items = sequence({item, repeat(sequence({comma, item}), min > 0 ? min - 1 : 0, max == kUnbounded ? max : max - 1)});
    parts.push_back(min == 0 ? optional(items) : items);
  }
  parts.insert(parts.end(), {space(), literal("]")});
  return sequence(std::move(parts));
}

Expr pair(const Expr& name, const Expr& value) { return sequence({name, literal(":"), space(), value}); }

Expr object(const std::vector<Property>& properties, const Expr& others) {
  const Expr comma = sequence({literal(","), space()});
  // after[i]: properties i, i + 1, … when one is there already; ways: the first one that is there.
  std::vector<Expr> after(properties.size() + 1);
  after.back() = others ? repeat(sequence({comma, others}), 0, kUnbounded) : sequence({});
  for (size_t i = properties.size(); i-- > 0;) {
    const Expr next = sequence({comma, properties[i].pair});
    after[i] = sequence({properties[i].required ? next : optional(next), after[i + 1]});
  }
  std::vector<Expr> ways;
  bool may_be_empty = true;
  for (size_t i = 0; i < properties.size() && may_be_empty; ++i) {
    ways.push_back(sequence({properties[i].pair, after[i + 1]}));
    may_be_empty = !properties[i].required;
  }
  if (may_be_empty) ways.push_back(others ? optional(sequence({others, after.back()})) : sequence({}));
  return sequence({literal("{"), space(), choice(std::move(ways)), space(), literal("}")});
}

}  // namespace exo::serve::json

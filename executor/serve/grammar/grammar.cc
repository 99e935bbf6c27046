#include "executor/serve/grammar/grammar.h"

#include <algorithm>
#include <functional>

namespace exo::serve {
namespace {

Expr make(Expression expression) { return std::make_shared<const Expression>(std::move(expression)); }

ByteSet byteRange(uint32_t from, uint32_t to) {
  ByteSet set;
  for (uint32_t byte = from; byte <= to; ++byte) set.set(byte);
  return set;
}

/// The bytes of a code point in UTF-8.
std::vector<uint32_t> utf8(uint32_t point) {
  if (point < 0x80) return {point};
  if (point < 0x800) return {0xc0 | point >> 6, 0x80 | (point & 63)};
  if (point < 0x10000) return {0xe0 | point >> 12, 0x80 | (point >> 6 & 63), 0x80 | (point & 63)};
  return {0xf0 | point >> 18, 0x80 | (point >> 12 & 63), 0x80 | (point >> 6 & 63), 0x80 | (point & 63)};
}

/// Sequences of byte ranges that together are [from, to], which have the same number of bytes. A range is cut until all but its
/// first differing byte run over everything: [U+0800, U+FFFF] is E0 A0-BF 80-BF | E1-EF 80-BF 80-BF.
void appendRange(uint32_t from, uint32_t to, std::vector<Expr>& out) {
  const size_t bytes = utf8(from).size();
  for (size_t tail = 1; tail < bytes; ++tail) {
    const uint32_t block = (1u << (6 * tail)) - 1;   // code points that share all but the last `tail` bytes
    if ((from & ~block) == (to & ~block)) break;
    if ((from & block) != 0) {
      appendRange(from, from | block, out);
      return appendRange((from | block) + 1, to, out);
    }
    if ((to & block) != block) {
      appendRange(from, (to & ~block) - 1, out);
      return appendRange(to & ~block, to, out);
    }
  }
  const std::vector<uint32_t> first = utf8(from), last = utf8(to);
  std::vector<Expr> parts;
  for (size_t i = 0; i < bytes; ++i) parts.push_back(byteOf(byteRange(first[i], last[i])));
  out.push_back(sequence(std::move(parts)));
}

/// Sorted, without overlaps or neighbours.
CodePoints normalised(CodePoints points) {
  std::sort(points.begin(), points.end());
  CodePoints merged;
  for (const auto& [from, to] : points) {
    if (!merged.empty() && from <= merged.back().second + 1) {
      merged.back().second = std::max(merged.back().second, to);
    } else {
      merged.emplace_back(from, to);
    }
  }
  return merged;
}

bool isNullable(const Grammar& grammar, const Expression& expression, std::vector<bool>& open) {
  const auto nullable = [&](const Expr& part) { return isNullable(grammar, *part, open); };
  switch (expression.kind) {
    case Expression::Kind::kBytes: return false;
    case Expression::Kind::kSequence: return std::all_of(expression.parts.begin(), expression.parts.end(), nullable);
    case Expression::Kind::kChoice: return std::any_of(expression.parts.begin(), expression.parts.end(), nullable);
    case Expression::Kind::kRepeat: return expression.min == 0 || nullable(expression.parts[0]);
    case Expression::Kind::kRule: break;
  }
  if (open[expression.rule]) return false;   // through itself: it is what its other ways say
  open[expression.rule] = true;
  const bool result = nullable(grammar.rules[expression.rule]);
  open[expression.rule] = false;
  return result;
}

/// Calls `found` with every rule with which `expression` may begin.
void firstRules(const Grammar& grammar, const Expression& expression, const std::function<void(uint32_t)>& found) {
  if (expression.kind == Expression::Kind::kRule) return found(expression.rule);
  for (const Expr& part : expression.parts) {
    firstRules(grammar, *part, found);
    std::vector<bool> open(grammar.rules.size());
    if (expression.kind == Expression::Kind::kSequence && !isNullable(grammar, *part, open)) break;
  }
}

/// How much of `mark` stands at the end of its first `matched` bytes and `byte`.
size_t matchedAfter(std::string_view mark, size_t matched, uint8_t byte) {
  const std::string text = std::string(mark.substr(0, matched)) + static_cast<char>(byte);
  size_t size = std::min(mark.size(), text.size());
  while (!text.ends_with(mark.substr(0, size))) --size;
  return size;
}

enum class AtMark { kEnd, kNever };

/// A rule for each number of the mark's bytes that the text so far ends with (Knuth, Morris and Pratt's automaton).
Expr textUpTo(Grammar& grammar, std::string_view mark, AtMark at_mark) {
  const auto first = static_cast<uint32_t>(grammar.rules.size());
  grammar.rules.resize(first + mark.size());
  for (size_t matched = 0; matched < mark.size(); ++matched) {
    std::vector<ByteSet> leading_to(mark.size() + 1);
    for (uint32_t byte = 0; byte < 256; ++byte) leading_to[matchedAfter(mark, matched, static_cast<uint8_t>(byte))].set(byte);
    std::vector<Expr> ways;
    if (at_mark == AtMark::kNever) ways.push_back(sequence({}));
    else if (leading_to.back().any()) ways.push_back(byteOf(leading_to.back()));
    for (uint32_t next = 0; next < mark.size(); ++next) {
      if (leading_to[next].any()) ways.push_back(sequence({byteOf(leading_to[next]), ruleOf(first + next)}));
    }
    grammar.rules[first + matched] = choice(std::move(ways));
  }
  return ruleOf(first);
}

}  // namespace

Expr byteOf(const ByteSet& bytes) { return make({.kind = Expression::Kind::kBytes, .bytes = bytes}); }

Expr literal(std::string_view text) {
  std::vector<Expr> parts;
  for (const char c : text) parts.push_back(byteOf(ByteSet().set(static_cast<unsigned char>(c))));
  return sequence(std::move(parts));
}

Expr sequence(std::vector<Expr> parts) { return parts.size() == 1 ? parts[0] : make({.kind = Expression::Kind::kSequence, .parts = std::move(parts)}); }

Expr choice(std::vector<Expr> parts) { return parts.size() == 1 ? parts[0] : make({.kind = Expression::Kind::kChoice, .parts = std::move(parts)}); }

Expr repeat(Expr part, uint32_t min, uint32_t max) { return make({.kind = Expression::Kind::kRepeat, .parts = {std::move(part)}, .min = min, .max = max}); }

Expr ruleOf(uint32_t rule) { return make({.kind = Expression::Kind::kRule, .rule = rule}); }

Expr textThrough(Grammar& grammar, std::string_view mark) { return textUpTo(grammar, mark, AtMark::kEnd); }

Expr textWithout(Grammar& grammar, std::string_view mark, const ByteSet& never_first) {
  const Expr text = textUpTo(grammar, mark, AtMark::kNever);
  if (never_first.none()) return text;
  const ByteSet spaces = ByteSet().set(' ').set('\t').set('\r').set('\n'), mark_begin = ByteSet().set(static_cast<unsigned char>(mark.front()));
  const auto start = static_cast<uint32_t>(grammar.rules.size());
  std::vector<Expr> ways = {sequence({}), sequence({byteOf(spaces), ruleOf(start)}), sequence({byteOf(~spaces & ~never_first & ~mark_begin), text})};
  if ((mark_begin & ~never_first).any() && mark.size() > 1) ways.push_back(sequence({byteOf(mark_begin), ruleOf(text->rule + 1)}));
  grammar.rules.push_back(choice(std::move(ways)));
  return ruleOf(start);
}

CodePoints complement(CodePoints points) {
  points.emplace_back(0xd800, 0xdfff);
  CodePoints rest;
  uint32_t next = 0;
  for (const auto& [from, to] : normalised(std::move(points))) {
    if (from > next) rest.emplace_back(next, from - 1);
    next = to + 1;
  }
  if (next <= kLastCodePoint) rest.emplace_back(next, kLastCodePoint);
  return rest;
}

Expr character(const CodePoints& points) {
  // Twice the complement: without surrogates, sorted, apart.
  std::vector<Expr> ranges;
  ByteSet single;
  for (const auto& [from, to] : complement(complement(points))) {
    for (const auto& [begin, end] : {std::pair<uint32_t, uint32_t>{0, 0x7f}, {0x80, 0x7ff}, {0x800, 0xffff}, {0x10000, kLastCodePoint}}) {
      const uint32_t first = std::max(from, begin), last = std::min(to, end);
      if (first > last) continue;
      if (end == 0x7f) single |= byteRange(first, last);
      else appendRange(first, last, ranges);
    }
  }
  if (single.any()) ranges.push_back(byteOf(single));
  return choice(std::move(ranges));
}

Status checkRecursion(const Grammar& grammar) {
  enum class Mark { kNew, kOpen, kDone };
  std::vector<Mark> marks(grammar.rules.size(), Mark::kNew);
  bool recursive = false;
  const std::function<void(uint32_t)> visit = [&](uint32_t rule) {
    if (marks[rule] == Mark::kOpen) recursive = true;
    if (marks[rule] != Mark::kNew) return;
    marks[rule] = Mark::kOpen;
    firstRules(grammar, *grammar.rules[rule], visit);
    marks[rule] = Mark::kDone;
  };
  for (uint32_t rule = 0; rule < grammar.rules.size(); ++rule) visit(rule);
  if (recursive) return invalid("the schema or grammar refers to itself without anything in between");
  return {};
}

}  // namespace exo::serve

// What an answer may be, as a grammar over bytes: expressions, and rules that they may name (so that a JSON schema may contain
// itself). Expressions are immutable and shared.
#pragma once

#include <bitset>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "ir/base/result.h"

namespace exo::serve {

struct Expression;
using Expr = std::shared_ptr<const Expression>;
using ByteSet = std::bitset<256>;
constexpr uint32_t kUnbounded = UINT32_MAX;

struct Expression {
  enum class Kind {
    kBytes,      // one byte of a set
    kSequence,   // one part after the other; none: nothing
    kChoice,     // one of the parts; none: never
    kRepeat,     // the one part, min to max times
    kRule        // what the rule says
  };
  Kind kind = Kind::kSequence;
  ByteSet bytes;
  std::vector<Expr> parts;
  uint32_t min = 0, max = 0;
  uint32_t rule = 0;
};

Expr byteOf(const ByteSet& bytes);
Expr literal(std::string_view text);
Expr sequence(std::vector<Expr> parts);
Expr choice(std::vector<Expr> parts);
Expr repeat(Expr part, uint32_t min, uint32_t max);
inline Expr optional(Expr part) { return repeat(std::move(part), 0, 1); }
Expr ruleOf(uint32_t rule);

/// Inclusive ranges of Unicode code points.
using CodePoints = std::vector<std::pair<uint32_t, uint32_t>>;
constexpr uint32_t kLastCodePoint = 0x10ffff;
/// All that `points` leaves out, surrogates excepted. Ranges in any order; they may overlap.
CodePoints complement(CodePoints points);
/// One code point of these, in UTF-8; surrogates have none.
Expr character(const CodePoints& points);

/// Rule 0 is the whole answer.
struct Grammar {
  std::vector<Expr> rules;
};

/// All texts that end with the first `mark` in them; adds rules to the grammar.
Expr textThrough(Grammar& grammar, std::string_view mark);
/// All texts without `mark` in them, whose first byte other than white space is none of `never_first`.
Expr textWithout(Grammar& grammar, std::string_view mark, const ByteSet& never_first = {});

/// Error kInvalidInput where a rule begins with itself, directly or through others: no text would ever come of following it.
Status checkRecursion(const Grammar& grammar);

}  // namespace exo::serve

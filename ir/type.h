// Tensor types: an encoding (how numbers are stored) and a logical shape.
// T tokens of a step, S sequences of a step, R rows whose logits are asked for.
#pragma once

#include <array>
#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace exo {

/// kW8/kW4: weights in blocks of 32 along the last dimension with one f16 scale. kX8: activations in blocks of 32.
enum class Encoding { kF32, kBF16, kF16, kI32, kW8, kW4, kX8 };
constexpr std::array<std::string_view, 7> kEncodingNames = {"f32", "bf16", "f16", "i32", "w8", "w4", "x8"};
inline std::string_view name(Encoding encoding) { return kEncodingNames[static_cast<size_t>(encoding)]; }
std::optional<Encoding> parseEncoding(std::string_view text);
inline bool isBlocked(Encoding e) { return e == Encoding::kW8 || e == Encoding::kW4; }
constexpr int64_t kQuantBlock = 32;
/// Columns a head must be a multiple of for x8 to begin a pair of blocks at each: what packed products read together.
constexpr int64_t kHeadAlignment = 2 * kQuantBlock;

/// A dimension: a size, or a symbol known only when a step runs.
class Dim {
 public:
  enum class Symbol : int64_t { kT = -1, kS = -2, kR = -3 };
  constexpr Dim(int64_t size) : code_(size) {}
  constexpr Dim(Symbol symbol) : code_(static_cast<int64_t>(symbol)) {}
  constexpr bool isSymbol() const { return code_ < 0; }
  constexpr int64_t size() const { return code_; }  // of a non-symbol
  constexpr Symbol symbol() const { return static_cast<Symbol>(code_); }
  /// The size in a step of `tokens` tokens of `sequences` sequences, of which `rows` rows give logits.
  constexpr int64_t at(int64_t tokens, int64_t sequences, int64_t rows) const {
    if (!isSymbol()) return code_;
    return symbol() == Symbol::kT ? tokens : symbol() == Symbol::kS ? sequences : rows;
  }
  friend constexpr bool operator==(Dim, Dim) = default;

 private:
  int64_t code_;
};
constexpr Dim T{Dim::Symbol::kT};
constexpr Dim S{Dim::Symbol::kS};
constexpr Dim R{Dim::Symbol::kR};

struct Type {
  Encoding encoding = Encoding::kF32;
  std::vector<Dim> shape;
  friend bool operator==(const Type&, const Type&) = default;
  size_t rank() const { return shape.size(); }
};
std::string toString(Dim dim);
std::string toString(const Type& type);
std::ostream& operator<<(std::ostream& out, const Type& type);

/// How large a step is: substitutes the symbols.
struct StepSize {
  int64_t tokens = 1, sequences = 1, rows = 1;
};
/// Number of elements of a value of `type` in such a step.
int64_t elements(const Type& type, StepSize step = {});
/// Bytes of `count` elements in rows of `row` elements, quantisation scales included (w8: 34/32, w4: 18/32, x8: 40/32).
double bytesPerElement(Encoding encoding);
/// Bytes of a value of `type` in such a step.
int64_t sizeBytes(const Type& type, StepSize step = {});

}  // namespace exo

#include "ir/type.h"

#include <ostream>

namespace exo {

std::optional<Encoding> parseEncoding(std::string_view text) {
  for (size_t i = 0; i < kEncodingNames.size(); ++i) {
    if (kEncodingNames[i] == text) return static_cast<Encoding>(i);
  }
  return std::nullopt;
}

std::string toString(Dim dim) {
  if (dim == T) return "T";
  if (dim == S) return "S";
  if (dim == R) return "R";
  return std::to_string(dim.size());
}

std::string toString(const Type& type) {
  std::string text(name(type.encoding));
  text += '[';
  for (size_t i = 0; i < type.shape.size(); ++i) text += (i ? ", " : "") + toString(type.shape[i]);
  return text + ']';
}

std::ostream& operator<<(std::ostream& out, const Type& type) { return out << toString(type); }

int64_t elements(const Type& type, StepSize step) {
  int64_t count = 1;
  for (Dim dim : type.shape) count *= dim.at(step.tokens, step.sequences, step.rows);
  return count;
}

double bytesPerElement(Encoding encoding) {
  switch (encoding) {
    case Encoding::kF32:
    case Encoding::kI32: return 4;
    case Encoding::kBF16:
    case Encoding::kF16: return 2;
    case Encoding::kW8: return 34.0 / 32;
    case Encoding::kW4: return 18.0 / 32;
    case Encoding::kX8: return 40.0 / 32;
  }
  return 0;
}

int64_t sizeBytes(const Type& type, StepSize step) {
  return static_cast<int64_t>(static_cast<double>(elements(type, step)) * bytesPerElement(type.encoding));
}

}  // namespace exo

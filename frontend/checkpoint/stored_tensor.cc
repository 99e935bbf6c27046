#include "frontend/checkpoint/stored_tensor.h"

#include <bit>

#include "frontend/checkpoint/to_float.h"

namespace exo {
namespace {

Encoding encodingOf(DType dtype) {
  if (dtype == DType::kBF16 || dtype == DType::kF8E4M3) return Encoding::kBF16;
  return dtype == DType::kF16 ? Encoding::kF16 : Encoding::kF32;
}

uint64_t numElements(std::span<const int64_t> shape) {
  uint64_t count = 1;
  for (const int64_t dim : shape) count *= static_cast<uint64_t>(dim);
  return count;
}

class PlainTensor : public StoredTensor {
 public:
  PlainTensor(const TensorView& view, std::vector<int64_t> shape, Strides strides)
      : StoredTensor({shape, std::string(name(view.dtype)), numElements(shape) * sizeBytes(view.dtype), encodingOf(view.dtype),
                      view.dtype != DType::kF64}),
        dtype_(view.dtype), data_(view.bytes.data()), strides_(strides) {}

  Status readRow(int64_t row, int64_t column, std::span<float> out) const override {
    const auto size = static_cast<int64_t>(sizeBytes(dtype_));
    const std::byte* at = data_ + (strides_.origin + row * strides_.row + column * strides_.column) * size;
    if (strides_.column == 1) {
      toFloat(dtype_, {at, out.size() * sizeBytes(dtype_)}, out);
      return {};
    }
    for (size_t i = 0; i < out.size(); ++i, at += strides_.column * size) toFloat(dtype_, {at, sizeBytes(dtype_)}, out.subspan(i, 1));
    return {};
  }

 private:
  DType dtype_;
  const std::byte* data_;
  Strides strides_;
};

class EveryOtherRow : public StoredTensor {
 public:
  EveryOtherRow(Stored inner, StoredTraits traits, int64_t first, int64_t step)
      : StoredTensor(std::move(traits)), inner_(std::move(inner)), first_(first), step_(step) {}
  Status readRow(int64_t row, int64_t column, std::span<float> out) const override {
    return inner_->readRow(first_ + row * step_, column, out);
  }
  bool readScales(int64_t row, int64_t column, std::span<uint16_t> out) const override {
    return inner_->readScales(first_ + row * step_, column, out);
  }

 private:
  Stored inner_;
  int64_t first_, step_;
};

}  // namespace

std::optional<uint16_t> exactHalf(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value), sign = bits >> 16 & 0x8000;
  const uint32_t mantissa = bits & 0x7fffff;
  const int exponent = static_cast<int>(bits >> 23 & 0xff) - 127;
  if ((bits & 0x7fffffff) == 0) return static_cast<uint16_t>(sign);
  if (exponent < -24 || exponent > 15) return std::nullopt;
  // Below 2^-14 an f16 has no leading one: it is written out, and shifted down.
  const int shift = exponent < -14 ? -1 - exponent : 13;
  const uint32_t significand = exponent < -14 ? mantissa | 0x800000 : mantissa;
  if (significand & ((1u << shift) - 1)) return std::nullopt;
  const uint32_t biased = exponent < -14 ? 0 : static_cast<uint32_t>(exponent + 15) << 10;
  return static_cast<uint16_t>(sign | biased | significand >> shift);
}

Result<FloatElements> FloatElements::of(const TensorView& view) {
  if (!convertsToFloat(view.dtype)) return makeError(ErrorCode::kUnsupported, view.name, ": expected a floating point type, got ", name(view.dtype));
  FloatElements elements;
  elements.dtype_ = view.dtype;
  elements.data_ = view.bytes.data();
  return elements;
}

float FloatElements::operator[](int64_t index) const {
  const size_t size = sizeBytes(dtype_);
  float value;
  toFloat(dtype_, {data_ + static_cast<size_t>(index) * size, size}, {&value, 1});
  return value;
}

Stored storedPlain(const TensorView& view, std::vector<int64_t> shape, Strides strides) {
  return std::make_shared<PlainTensor>(view, std::move(shape), strides);
}

Stored everyOtherRow(Stored inner, int64_t first, int64_t step) {
  StoredTraits traits = inner->traits();
  EXO_CHECK(traits.shape.size() == 2 && step > 0);
  traits.shape[0] /= step;
  traits.size_bytes /= static_cast<uint64_t>(step);
  return std::make_shared<EveryOtherRow>(std::move(inner), std::move(traits), first, step);
}

}  // namespace exo

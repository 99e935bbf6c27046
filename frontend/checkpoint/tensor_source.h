// Where weights come from: rows of named tensors as f32, any rectangle of them, in any order, from any thread.
// The caller says which shape it expects (from the ModelConfig); a source that knows better refuses.
// A 1-D tensor [n] is one row of n columns. Experts are several 2-D tensors.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "ir/base/result.h"

namespace exo {

/// A tensor as the model wants it: its checkpoint name and its shape, [columns] or [rows, columns].
struct TensorRef {
  std::string name;
  std::vector<int64_t> shape;

  int64_t rows() const { return shape.size() == 2 ? shape[0] : 1; }
  int64_t columns() const { return shape.empty() ? 1 : shape.back(); }
};

/// Half-open ranges of rows and columns.
struct TensorSlice {
  int64_t row_begin = 0, row_end = 0;
  int64_t column_begin = 0, column_end = 0;

  int64_t rows() const { return row_end - row_begin; }
  int64_t columns() const { return column_end - column_begin; }
  static TensorSlice all(const TensorRef& tensor) { return {0, tensor.rows(), 0, tensor.columns()}; }
};

struct TensorInfo {
  std::string format;  // as stored: "BF16", "Q4_K"
  std::vector<int64_t> shape;
};

class TensorSource {
 public:
  virtual ~TensorSource() = default;

  /// True if there is a tensor of this name, whatever its shape.
  virtual bool contains(const std::string& name) const = 0;

  /// Errors: kNotFound (with the nearest name), kMismatch (another shape than expected).
  virtual Result<TensorInfo> find(const TensorRef& tensor) const = 0;

  /// Fills `out` (row-major, slice.rows() × slice.columns()) touching only the bytes of the slice.
  /// Errors: as find; kUnsupported when what is stored does not convert to f32.
  virtual Status readRows(const TensorRef& tensor, const TensorSlice& slice, std::span<float> out) const = 0;

  /// What the tensors are, for those who keep what they made of them: equal text means equal values. Cheap: no tensor is
  /// read. Empty: not known, or no longer what was opened.
  virtual std::string identity() const { return {}; }

  /// Where the tensor is stored as integers times an f16 scale per block of 32 columns: the scales of the blocks from
  /// `column` (a multiple of 32) on, so that a packer of such blocks can keep every bit. Else false.
  virtual bool readScales(const std::string& /*name*/, int64_t /*row*/, int64_t /*column*/, std::span<uint16_t>) const { return false; }

  /// The whole tensor.
  Status readAll(const TensorRef& tensor, std::span<float> out) const {
    return readRows(tensor, TensorSlice::all(tensor), out);
  }
};

/// EXO_CHECKs that the shape is 1-D or 2-D, the slice inside it and `out` as large as the slice: callers' duties.
void checkSlice(const TensorRef& tensor, const TensorSlice& slice, std::span<float> out);

}  // namespace exo

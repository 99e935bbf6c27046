#include "frontend/checkpoint/tensor_source.h"

namespace exo {

void checkSlice(const TensorRef& tensor, const TensorSlice& slice, std::span<float> out) {
  EXO_CHECK(tensor.shape.size() == 1 || tensor.shape.size() == 2) << tensor.name << " has rank " << tensor.shape.size();
  EXO_CHECK(0 <= slice.row_begin && slice.row_begin <= slice.row_end && slice.row_end <= tensor.rows()) << tensor.name;
  EXO_CHECK(0 <= slice.column_begin && slice.column_begin <= slice.column_end && slice.column_end <= tensor.columns())
      << tensor.name;
  EXO_CHECK(static_cast<int64_t>(out.size()) == slice.rows() * slice.columns()) << tensor.name;
}

}  // namespace exo

#include <algorithm>

#include "frontend/checkpoint/formats/formats.h"
#include "frontend/checkpoint/to_float.h"

namespace exo {

const TensorView* WeightParts::find(const std::string& part) const {
  const auto found = tensors.find(part);
  return found == tensors.end() ? nullptr : &found->second;
}

Result<const TensorView*> WeightParts::require(const std::string& part) const {
  const TensorView* view = find(part);
  if (!view) return makeError(ErrorCode::kNotFound, path, ": expected its ", part, ", found none");
  return view;
}

Result<const TensorView*> WeightParts::require(const std::string& part, std::span<const DType> dtypes, std::span<const int64_t> shape) const {
  EXO_ASSIGN(const TensorView* view, require(part));
  const bool known = dtypes.empty() ? convertsToFloat(view->dtype) : std::find(dtypes.begin(), dtypes.end(), view->dtype) != dtypes.end();
  std::string types;
  for (const DType dtype : dtypes) types += (types.empty() ? "" : " or ") + std::string(name(dtype));
  if (!known) return invalid(view->name, ": expected ", dtypes.empty() ? "a floating point type" : types, ", got ", name(view->dtype));
  if (!std::equal(shape.begin(), shape.end(), view->shape.begin(), view->shape.end()))
    return invalid(view->name, ": expected shape ", shapeText(shape), ", got ", shapeText(view->shape));
  return view;
}

uint64_t WeightParts::sizeBytes() const {
  uint64_t size = 0;
  for (const auto& [part, view] : tensors) size += view.bytes.size();
  return size;
}

Result<std::pair<int64_t, int64_t>> matrixShape(const WeightParts& parts, const TensorView& view) {
  if (view.shape.size() != 2) return invalid(view.name, ": expected a matrix, got shape ", shapeText(view.shape), ", in the weight ", parts.path);
  return std::pair(view.shape[0], view.shape[1]);
}

}  // namespace exo

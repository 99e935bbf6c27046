#include "frontend/config/families/family.h"

#include <array>

namespace exo {

std::span<const Family> families() {
  static const std::array table = {llamaFamily(), mistralFamily(), mixtralFamily(),
                                   qwen2Family(), qwen3Family(),   qwen3MoeFamily()};
  return table;
}

}  // namespace exo

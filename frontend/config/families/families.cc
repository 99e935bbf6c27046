#include "frontend/config/families/family.h"

#include <array>

namespace exo {

std::span<const Family> families() {
  static const std::array table = {deepseekV3Family(), gemma2Family(), gemma3TextFamily(), glm4MoeFamily(), gptOssFamily(), kimiK2Family(), llamaFamily(),    mistralFamily(), mixtralFamily(),
                                   olmo2Family(),   phi3Family(),       qwen2Family(),   qwen2MoeFamily(), qwen3Family(),   qwen3MoeFamily()};
  return table;
}

}  // namespace exo

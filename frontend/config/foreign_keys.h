// Keys of other architectures that change the result and that a reader of another family would silently miss.
#pragma once

#include "frontend/config/json_reader.h"

namespace exo {

/// Error naming the first such key, `own_keys` apart, whose value is not the harmless one.
Status refuseForeignKeys(const JsonObject& json, const std::vector<std::string>& own_keys);

}  // namespace exo

// The profiles of a plan's nodes as one trace.
#pragma once

#include <filesystem>
#include <string>

#include "ir/base/result.h"

namespace exo {

/// Joins DIRECTORY/rank-0.json ... (LocalClusterOptions::profiles) into `path`, which Perfetto opens, and returns their tables
/// of where the time went. Errors: kNotFound when a rank wrote none, kIo.
Result<std::string> joinProfiles(const std::filesystem::path& directory, int num_ranks, const std::filesystem::path& path);

}  // namespace exo

// The plan directory's one binary file: plan.pb.
#pragma once

#include <filesystem>
#include <string>

#include "codegen/plan.pb.h"
#include "ir/base/result.h"

namespace exo {

/// Reads DIRECTORY/plan.pb. Errors: kNotFound; kMismatch for another version or a damaged file (the content hash is off).
Result<plan::Plan> loadPlan(const std::filesystem::path& directory);

/// Sets version and content hash and writes DIRECTORY/plan.pb, beside and renamed.
Status savePlan(plan::Plan plan, const std::filesystem::path& directory);

/// SHA-256 of a program, 32 bytes: nodes compare it before they work together.
std::string programHash(const program::Program& program);

}  // namespace exo

// Command line flags of our programs: gflags holds them, this parses them our way: an unknown flag is answered with the
// nearest known one, and nothing exits behind our back.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ir/base/result.h"

namespace exo {

/// Sets gflags from "--flag=value", "--flag value", "--flag" and "--noflag"; returns the other arguments. Only flags in
/// `allowed` are known. Error kInvalidInput for another flag, a missing value, or one of the wrong type.
Result<std::vector<std::string>> parseFlags(const std::vector<std::string>& arguments, const std::vector<std::string>& allowed);

/// The value of a flag that takes a seed (--random_weights): a number of 64 bits, or none for "".
Result<std::optional<uint64_t>> parseSeed(const std::string& flag, const std::string& text);

/// One line per flag: its name, default and description.
std::string describeFlags(const std::vector<std::string>& flags);

}  // namespace exo

// The flags of exo-exec: gflags holds them, this parses them, so that an unknown one is answered with the nearest known one
// and nothing exits behind our back.
#pragma once

#include <string>
#include <vector>

#include "ir/base/result.h"

namespace exo {

/// Sets gflags from "--flag=value", "--flag value", "--flag" and "--noflag". Error kInvalidInput for a flag that is not in
/// `known`, a value of the wrong type, and any other argument.
Status setFlags(const std::vector<std::string>& arguments, const std::vector<std::string>& known);

/// One line per flag: its name, default and description.
std::string describeFlags(const std::vector<std::string>& flags);

}  // namespace exo

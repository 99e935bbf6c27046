// The command line of exoc: gflags holds the flags, this parses them our way (unknown flags name the nearest known one,
// nothing exits behind our back).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ir/base/result.h"

namespace exo {

/// Sets gflags from "--flag=value", "--flag value", "--flag" and "--noflag"; returns the other arguments. Only flags in
/// `allowed` (and help) are known to this command. Error kInvalidInput otherwise.
Result<std::vector<std::string>> parseFlags(const std::vector<std::string>& arguments, const std::vector<std::string>& allowed);

/// A command of exoc. `run` gets its arguments without flags and returns the exit code.
struct Command {
  std::string_view name, arguments, summary, examples;
  std::vector<std::string> flags;
  Result<int> (*run)(const std::vector<std::string>& arguments);
};

/// Usage, flags with their defaults, examples.
std::string helpText(const Command& command);

/// 2 for what the user can mend (bad input, does not fit), 1 for what went wrong while running.
int exitCode(const Error& error);

}  // namespace exo

// What a command of exoc is, its help, and exit codes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ir/base/result.h"

namespace exo {

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

#include "frontend/driver/command_line.h"

#include "frontend/flags/flags.h"

namespace exo {

std::string helpText(const Command& command) {
  std::string text = "exoc " + std::string(command.name) + " " + std::string(command.arguments) + "\n\n" + std::string(command.summary) + "\n\nFlags:\n" + describeFlags(command.flags);
  return text + "\nExamples:\n" + std::string(command.examples);
}

int exitCode(const Error& error) {
  switch (error.code()) {
    case ErrorCode::kInvalidInput:
    case ErrorCode::kUnsupported:
    case ErrorCode::kNotFound:
    case ErrorCode::kMismatch:
    case ErrorCode::kDoesNotFit: return 2;
    default: return 1;
  }
}

}  // namespace exo

// Runs a parsed template. One Interpreter serves one rendering.
#pragma once

#include <ctime>
#include <optional>

#include "frontend/template/ast.h"

namespace exo::jinja {

struct RenderSettings {
  Budget& budget;
  int max_depth;
  std::optional<std::tm> now;  // what strftime_now shows; absent: the local time
};

/// variables: the names the template sees. Quoted is what came of quoted variables. Errors name the line.
Result<QuotedText> renderTemplate(const Body& body, std::vector<std::pair<std::string, Value>> variables, const RenderSettings& settings);

}  // namespace exo::jinja

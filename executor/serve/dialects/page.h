// The dashboard's files over HTTP: the page at "/", and what it refers to. They need no key: the page asks for one.
#pragma once

#include <vector>

#include "executor/serve/http/router.h"

namespace exo::serve {

/// GET "/" is the page for browsers, who ask for HTML, and "Ollama is running" for others: the words that Ollama's clients look for.
std::vector<http::Route> pageRoutes();

}  // namespace exo::serve

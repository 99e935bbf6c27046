// Chat templates: the Jinja programs in model directories that turn messages into the text of a prompt, rendered as transformers
// does (trim_blocks, lstrip_blocks, its tojson, raise_exception and strftime_now, loop controls, generation blocks, and a sandbox
// that forbids changing lists and dicts). Templates and messages are untrusted: every resource is bounded by Limits.
// Not supported and refused by name with the line: template inheritance and imports, recursive loops, *args in calls,
// integers beyond 64 bits, and filters, tests and methods outside the tables in filters.cc, predicates.cc and methods.cc.
#pragma once

#include <cstdint>
#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "ir/base/quoted_text.h"
#include "ir/base/result.h"

namespace exo {

class ChatTemplate {
 public:
  /// What one rendering may use.
  struct Limits {
    uint64_t steps = 20'000'000;                 // nodes evaluated, elements compared, 64-byte pieces of text built
    int depth = 250;                             // nesting of statements, expressions and macro calls; a few KiB of stack each
    size_t output_bytes = 64 * 1024 * 1024;      // of the result and of any text on the way
    std::optional<std::tm> now = std::nullopt;   // what strftime_now() shows; absent: the local time
  };

  /// Errors name the line: "chat template, line 3: …".
  static Result<ChatTemplate> parse(std::string source);

  /// variables: an object {messages, tools, add_generation_prompt, bos_token, eos_token, enable_thinking, …}; a name it lacks is
  /// undefined in the template. A call of raise_exception is an error (kInvalidInput) with its message.
  /// Quoted is all text that came of variables, so that no special token is read in it; but for bos_token and the like, and for the usual
  /// roles. Thread-safe: one template serves any number of renderings.
  Result<QuotedText> renderPrompt(const nlohmann::ordered_json& variables, const Limits& limits) const;
  Result<QuotedText> renderPrompt(const nlohmann::ordered_json& variables) const { return renderPrompt(variables, Limits{}); }
  /// The text alone.
  Result<std::string> render(const nlohmann::ordered_json& variables, const Limits& limits) const;
  Result<std::string> render(const nlohmann::ordered_json& variables) const { return render(variables, Limits{}); }

  const std::string& source() const;

 private:
  struct Parsed;
  explicit ChatTemplate(std::shared_ptr<const Parsed> parsed) : parsed_(std::move(parsed)) {}
  std::shared_ptr<const Parsed> parsed_;
};

/// The template text of a GGUF file (tokenizer.chat_template) or a model directory: chat_template.jinja, else "chat_template" of tokenizer_config.json (a text, or a list
/// of {name, template} with one named "default"), else of chat_template.json. kNotFound if none of them has one.
Result<std::string> loadChatTemplate(const std::string& directory);

}  // namespace exo

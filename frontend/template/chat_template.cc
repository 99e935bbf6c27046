#include "frontend/template/chat_template.h"

#include "frontend/template/interpreter.h"
#include "frontend/template/parser.h"

namespace exo {

struct ChatTemplate::Parsed {
  std::string source;
  jinja::Body body;
};

Result<ChatTemplate> ChatTemplate::parse(std::string source) {
  constexpr size_t kMaxSourceBytes = 4 * 1024 * 1024;  // the largest released ones have about 30 kB
  if (source.size() > kMaxSourceBytes) return invalid("the chat template has ", source.size(), " bytes; at most ", kMaxSourceBytes, " are allowed");
  EXO_ASSIGN(jinja::Body body, jinja::parseTemplate(source));
  return ChatTemplate(std::make_shared<const Parsed>(Parsed{std::move(source), std::move(body)}));
}

Result<QuotedText> ChatTemplate::renderPrompt(const nlohmann::ordered_json& variables, const Limits& limits) const {
  if (!variables.is_object()) return invalid("the variables of a chat template must be a JSON object, got ", variables.type_name());
  jinja::Budget budget(limits.steps, limits.output_bytes);
  std::vector<std::pair<std::string, jinja::Value>> values;
  for (auto it = variables.begin(); it != variables.end(); ++it) {
    const jinja::Origin origin = it.key().ends_with("_token") ? jinja::Origin::kOurs : jinja::Origin::kMessages;
    EXO_ASSIGN(jinja::Value value, jinja::fromJson(it.value(), origin, budget));
    values.emplace_back(it.key(), std::move(value));
  }
  return jinja::renderTemplate(parsed_->body, std::move(values), {budget, limits.depth, limits.now});
}

Result<std::string> ChatTemplate::render(const nlohmann::ordered_json& variables, const Limits& limits) const {
  EXO_ASSIGN(QuotedText prompt, renderPrompt(variables, limits));
  return std::move(prompt.text);
}

const std::string& ChatTemplate::source() const { return parsed_->source; }

}  // namespace exo

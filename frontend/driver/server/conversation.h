// A conversation with a model of a running server: its messages, its settings, and what lines that begin with a slash do.
#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "frontend/driver/server/server_client.h"

namespace exo {

/// Where things are written. An answer is text; all the rest is notes.
struct ConversationOutput {
  std::function<void(const std::string& text)> text, thinking, note;
};

class Conversation {
 public:
  using Json = ServerClient::Json;
  Conversation(ServerClient& server, std::string model, ConversationOutput output) : server_(server), model_(std::move(model)), output_(std::move(output)) {}

  Json& options() { return options_; }   // Ollama's names: temperature, top_p, num_predict, …
  void setSystem(std::string text) { system_ = std::move(text); }
  void setThink(Json think) { think_ = std::move(think); }
  void setVerbose(bool verbose) { verbose_ = verbose; }

  /// Sends a message and writes the answer as it comes. Where it is cut off (`cancel`), what came stays part of the conversation. After
  /// an error the message is not.
  Status say(const std::string& message, const std::atomic<bool>& cancel);

  enum class After { kGoOn, kLeave };
  /// A line that begins with a slash.
  Result<After> command(const std::string& line, const std::atomic<bool>& cancel);

  const std::string& model() const { return model_; }

 private:
  struct Command;
  static const std::vector<Command>& commands();
  Status set(const std::string& what);
  Status setParameter(const std::string& what);
  Status answer(const std::atomic<bool>& cancel);
  void show() const;
  void printStatistics(const Json& last) const;

  ServerClient& server_;
  std::string model_, system_;
  ConversationOutput output_;
  Json messages_ = Json::array(), options_ = Json::object(), think_ = nullptr;
  bool verbose_ = false;
};

}  // namespace exo

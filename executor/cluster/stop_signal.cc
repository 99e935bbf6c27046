#include "executor/cluster/stop_signal.h"

namespace exo::cluster {

StopSignal::Subscription::~Subscription() {
  const std::lock_guard lock(signal_->callbacks_mutex_);
  signal_->callbacks_.erase(callback_);
}

void StopSignal::stop(const std::string& reason) { end(reason, std::nullopt); }

void StopSignal::fail(Error error) {
  std::string reason = error.message();
  end(std::move(reason), std::move(error));
}

void StopSignal::end(std::string reason, std::optional<Error> error) {
  if (flag_) return;
  // Before the flag: whoever sees it and unsubscribes then waits for the callbacks, rather than taking theirs away.
  const std::lock_guard calling(callbacks_mutex_);
  {
    const std::lock_guard lock(mutex_);
    if (flag_) return;
    reason_ = std::move(reason);
    error_ = std::move(error);
    flag_ = true;
  }
  changed_.notify_all();
  called_ = true;
  for (const Callback& callback : callbacks_) callback();
}

std::optional<Error> StopSignal::error() const {
  const std::lock_guard lock(mutex_);
  return error_;
}

std::string StopSignal::reason() const {
  const std::lock_guard lock(mutex_);
  return reason_;
}

bool StopSignal::waitFor(std::chrono::milliseconds timeout) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, timeout, [this] { return flag_.load(); });
}

StopSignal::Subscription StopSignal::onStop(Callback callback) {
  const std::lock_guard lock(callbacks_mutex_);
  if (called_) callback();
  return Subscription(this, callbacks_.insert(callbacks_.end(), std::move(callback)));
}

}  // namespace exo::cluster

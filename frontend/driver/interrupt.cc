#include "frontend/driver/interrupt.h"

#include <signal.h>
#include <unistd.h>

namespace exo {

namespace {

// All that the signal handler touches.
std::atomic<bool> interrupted = false;
std::atomic<int> signals = 0, signals_counted = 1;

void onSignal(int) {
  interrupted = true;
  if (++signals > signals_counted) ::_exit(130);
}

void install(void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaction(signal, &action, nullptr);
}

}  // namespace

Interrupt::Interrupt(int counted) {
  interrupted = false;
  signals = 0;
  signals_counted = counted;
  install(onSignal);
}

Interrupt::~Interrupt() { install(SIG_DFL); }

const std::atomic<bool>* Interrupt::flag() const { return &interrupted; }

int Interrupt::count() const { return signals; }

}  // namespace exo

#include "executor/transport/verbs/device.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

namespace exo::transport::verbs {
namespace {

/// Bits set in ibv_port_attr::active_speed and active_width, as the InfiniBand specification numbers them.
uint32_t mbitPerSecond(const ibv_port_attr& port) {
  constexpr std::pair<int, uint32_t> kLaneMbit[] = {{1, 2'500},   {2, 5'000},   {4, 10'000},  {8, 10'000},
                                                    {16, 14'000}, {32, 25'000}, {64, 50'000}, {128, 100'000}};
  constexpr std::pair<int, uint32_t> kLanes[] = {{1, 1}, {2, 4}, {4, 8}, {8, 12}, {16, 2}};
  uint32_t lane = 2'500, lanes = 1;
  for (const auto& [bit, mbit] : kLaneMbit)
    if (port.active_speed == bit) lane = mbit;
  for (const auto& [bit, count] : kLanes)
    if (port.active_width == bit) lanes = count;
  return lane * lanes;
}

/// sysfs is the one place that tells the types of all drivers and kernels alike.
bool isRoceV2(const std::string& device, int port, int gid_index) {
  std::ifstream file("/sys/class/infiniband/" + device + "/ports/" + std::to_string(port) + "/gid_attrs/types/" + std::to_string(gid_index));
  std::string type;
  return std::getline(file, type) && type == "RoCE v2";
}

/// Why nothing was found, collected while looking.
class Reasons {
 public:
  template <class... Parts>
  void add(const Parts&... parts) {
    out_ << (empty_ ? "" : "; ");
    (out_ << ... << parts);
    empty_ = false;
  }
  std::string text(const std::string& otherwise) const { return empty_ ? otherwise : out_.str(); }

 private:
  std::ostringstream out_;
  bool empty_ = true;
};

void addGids(const Port& port, const ibv_port_attr& attributes, const DeviceChoice& choice, std::vector<Port>& out, Reasons& reasons) {
  const Library& library = port.device->library();
  const bool ethernet = attributes.link_layer == IBV_LINK_LAYER_ETHERNET;
  const size_t before = out.size();
  // On InfiniBand the first GID is the port's own; on Ethernet each address of the network interface has one.
  const int count = ethernet ? attributes.gid_tbl_len : 1;
  for (int index = 0; index < std::min(count, 256); ++index) {
    if (choice.gid_index && *choice.gid_index != index) continue;
    ibv_gid gid = {};
    if (library.query_gid(port.device->context(), port.number, index, &gid) != 0) continue;
    Port found = port;
    found.gid_index = static_cast<uint8_t>(index);
    std::memcpy(found.path.gid.data(), gid.raw, sizeof(gid.raw));
    if (ethernet && (found.path.gid == Gid{} || !isRoceV2(port.device->name(), port.number, index))) continue;
    out.push_back(std::move(found));
  }
  if (out.size() == before) reasons.add(port.device->name(), " port ", int{port.number}, " has no usable GID (for RoCE v2)");
}

void addPorts(const std::shared_ptr<Device>& device, const DeviceChoice& choice, std::vector<Port>& out, Reasons& reasons) {
  for (int number = 1; number <= device->attributes().phys_port_cnt; ++number) {
    if (choice.port && *choice.port != number) continue;
    ibv_port_attr attributes = {};
    auto* const compatible = reinterpret_cast<_compat_ibv_port_attr*>(&attributes);
    if (device->library().query_port(device->context(), static_cast<uint8_t>(number), compatible) != 0) continue;
    if (attributes.state != IBV_PORT_ACTIVE) {
      reasons.add(device->name(), " port ", number, " is down");
      continue;
    }
    Port port{device, static_cast<uint8_t>(number), 0, attributes.active_mtu, attributes.max_msg_sz, {}};
    port.path.link_layer = attributes.link_layer == IBV_LINK_LAYER_ETHERNET ? Path::kEthernet : Path::kInfiniBand;
    port.path.lid = attributes.lid;
    port.path.mbit_per_s = mbitPerSecond(attributes);
    addGids(port, attributes, choice, out, reasons);
  }
}

}  // namespace

Result<std::shared_ptr<Device>> Device::open(const Library& library, ibv_device* device) {
  std::shared_ptr<Device> out(new Device(library));
  out->name_ = library.get_device_name(device);
  const auto failed = [&](const char* what) { return makeError(ErrorCode::kIo, out->name_, ": ", what, ": ", errnoText(errno)); };
  out->context_ = library.open_device(device);
  if (out->context_ == nullptr) return failed("cannot be opened");
  if (const int error = library.query_device(out->context_, &out->attributes_); error != 0) {
    errno = error;
    return failed("cannot be queried");
  }
  out->domain_ = library.alloc_pd(out->context_);
  if (out->domain_ == nullptr) return failed("gives no protection domain");
  const int flags = fcntl(out->context_->async_fd, F_GETFL);
  if (flags < 0 || fcntl(out->context_->async_fd, F_SETFL, flags | O_NONBLOCK) != 0) return failed("its events cannot be polled");
  return out;
}

Device::~Device() {
  if (domain_ != nullptr) library_.dealloc_pd(domain_);
  if (context_ != nullptr) library_.close_device(context_);
}

void Device::readEvents() {
  for (ibv_async_event event; library_.get_async_event(context_, &event) == 0; library_.ack_async_event(&event)) {
    const std::string what = library_.event_type_str(event.event_type);
    switch (event.event_type) {
      case IBV_EVENT_DEVICE_FATAL: removed_ = what; break;
      case IBV_EVENT_QP_FATAL:
      case IBV_EVENT_QP_REQ_ERR:
      case IBV_EVENT_QP_ACCESS_ERR: failed_queues_[event.element.qp->qp_num] = what; break;
      default: break;  // a port that is down may come back: the queue pairs retry until they give up
    }
  }
}

std::optional<std::string> Device::failureOf(uint32_t queue_number) {
  const std::lock_guard lock(mutex_);
  readEvents();
  if (removed_) return *removed_;
  const auto failed = failed_queues_.find(queue_number);
  if (failed == failed_queues_.end()) return std::nullopt;
  return failed->second;
}

std::string text(const Port& port) {
  std::ostringstream out;
  out << port.device->name() << " port " << int{port.number};
  if (port.path.link_layer == Path::kInfiniBand) {
    out << ", InfiniBand LID " << port.path.lid;
  } else {
    out << ", RoCE v2 " << text(port.path.gid);
  }
  return out.str();
}

Result<std::vector<Port>> openPorts(const DeviceChoice& choice) {
  EXO_ASSIGN(const Library* const verbs, library());
  int count = 0;
  ibv_device** const devices = verbs->get_device_list(&count);
  if (devices == nullptr || count == 0) {
    if (devices != nullptr) verbs->free_device_list(devices);
    return makeError(ErrorCode::kNotFound, "no verbs device");
  }
  std::vector<Port> ports;
  Reasons reasons;
  for (int i = 0; i < count; ++i) {
    if (!choice.name.empty() && choice.name != verbs->get_device_name(devices[i])) continue;
    const auto device = Device::open(*verbs, devices[i]);
    if (device.ok()) {
      addPorts(*device, choice, ports, reasons);
    } else {
      reasons.add(device.error().message());
    }
  }
  verbs->free_device_list(devices);
  if (ports.empty()) {
    const std::string otherwise = choice.name.empty() ? "no verbs device has a port" : "no verbs device " + choice.name + ", or not that port of it";
    return makeError(ErrorCode::kNotFound, reasons.text(otherwise));
  }
  std::stable_sort(ports.begin(), ports.end(), [](const Port& a, const Port& b) { return a.path.mbit_per_s > b.path.mbit_per_s; });
  if (ports.size() > kMaxPaths) ports.resize(kMaxPaths);
  return ports;
}

Paths pathsOf(std::span<const Port> ports, const SocketAddress& local) {
  EXO_CHECK(ports.size() <= kMaxPaths);
  Paths out = {};
  for (size_t i = 0; i < ports.size(); ++i) {
    out[i] = ports[i].path;
    out[i].on_tcp_route = ports[i].path.gid == gidOf(local) ? 1 : 0;
  }
  return out;
}

Result<MemoryRegion> MemoryRegion::registered(std::shared_ptr<Device> device, std::span<std::byte> memory, int access) {
  MemoryRegion out;
  out.region_ = device->library().reg_mr(device->domain(), memory.data(), memory.size(), access);
  if (out.region_ == nullptr) {
    const int error = errno;
    return makeError(ErrorCode::kDoesNotFit, device->name(), " cannot register ", memory.size(), " B: ", errnoText(error),
                     error == ENOMEM || error == EAGAIN ? " (is the limit of locked memory too low? see ulimit -l)" : "");
  }
  out.device_ = std::move(device);
  return out;
}

MemoryRegion::~MemoryRegion() {
  if (region_ != nullptr) device_->library().dereg_mr(region_);
}

}  // namespace exo::transport::verbs

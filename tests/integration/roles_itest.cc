// Coordinator, servers and workers started by hand: ports in use, and peers that are not there.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <string>

#include "tests/integration/program.h"

namespace cairn {
namespace {

using testing::HasSubstr;

// A port of this host that somebody else listens on.
class TakenPort {
 public:
  TakenPort() : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(listen(fd_, 1), 0);
    socklen_t size = sizeof address;
    EXPECT_EQ(getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
  }
  ~TakenPort() { close(fd_); }
  std::string Address() const { return "127.0.0.1:" + std::to_string(port_); }

 private:
  const int fd_;
  int port_ = 0;
};

class RolesTest : public testing::Test {
 protected:
  RolesTest() { place_.WriteJob({.epochs = 1000}); }

  std::unique_ptr<Program> Coordinator(int ps, const std::string& address = "127.0.0.1:0") {
    return place_.StartCairn({"coordinator", "--config=job.textproto", "--run_dir=run",
                              "--ps=" + std::to_string(ps), "--workers=1", "--address=" + address});
  }
  std::string Address() {
    EXPECT_TRUE(Eventually([&] { return place_.File("run/coordinator.address").ends_with("\n"); }));
    const std::string text = place_.File("run/coordinator.address");
    return text.substr(0, text.find('\n'));
  }
  std::unique_ptr<Program> Ps(const std::string& coordinator, int index) {
    return place_.StartCairn(
        {"ps", "--coordinator=" + coordinator, "--ps=" + std::to_string(index), "--run_dir=run"});
  }
  std::unique_ptr<Program> Worker(const std::string& coordinator) {
    return place_.StartCairn({"worker", "--coordinator=" + coordinator, "--worker=0"});
  }
  // Whether the text appears in time. What is missing is to be named within 10 s; the test allows
  // for a busy machine.
  static bool SaysInTime(Program& program, const std::string& text) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    return Eventually([&] {
             return program.Err().find(text) != std::string::npos ||
                    std::chrono::steady_clock::now() > deadline;
           }) &&
           program.Err().find(text) != std::string::npos;
  }

  Workplace place_;
};

TEST_F(RolesTest, PortInUseIsNamed) {
  const TakenPort taken;
  const auto coordinator = Coordinator(1, taken.Address());
  EXPECT_EQ(coordinator->Wait(), 138) << coordinator->Err();
  EXPECT_THAT(coordinator->Err(), HasSubstr(taken.Address()));
}

TEST_F(RolesTest, ServerThatNeverCameIsNamed) {
  const auto coordinator = Coordinator(2);
  const std::string address = Address();
  const auto ps = Ps(address, 0);
  const auto worker = Worker(address);
  EXPECT_TRUE(SaysInTime(*coordinator, "ps 1")) << coordinator->Err();
  EXPECT_TRUE(SaysInTime(*worker, "ps 1")) << worker->Err();
}

TEST_F(RolesTest, CoordinatorThatIsNotThereIsNamedWithItsAddress) {
  std::string address;
  {
    const TakenPort gone;
    address = gone.Address();
  }
  const auto ps = Ps(address, 0);
  EXPECT_TRUE(SaysInTime(*ps, address)) << ps->Err();
  const auto worker = Worker(address);
  EXPECT_TRUE(SaysInTime(*worker, address)) << worker->Err();
}

TEST_F(RolesTest, ServerThatDiedIsNamed) {
  const auto coordinator = Coordinator(1);
  const std::string address = Address();
  const auto ps = Ps(address, 0);
  const auto worker = Worker(address);
  ASSERT_TRUE(Eventually([&] { return place_.HasCheckpoint() || coordinator->IsOver(); }));
  ASSERT_FALSE(coordinator->IsOver()) << coordinator->Err();
  ps->Signal(SIGKILL);
  ps->Wait();
  EXPECT_TRUE(SaysInTime(*worker, "ps 0")) << worker->Err();
}

}  // namespace
}  // namespace cairn

#include "common/io/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <string>
#include <vector>

namespace cairn {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// A fresh folder for each test, removed at its end.
class FileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = JoinPath(testing::TempDir(), "cairn_file_XXXXXX");
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { EXPECT_TRUE(RemoveTree(folder_).ok()); }
  std::string Path(std::string_view name) const { return JoinPath(folder_, name); }
  void Put(std::string_view name, std::string_view content) {
    ASSERT_TRUE(WriteFileAtomically(Path(name), content).ok());
  }
  std::string folder_;
};

TEST_F(FileTest, WhatIsWrittenIsRead) {
  const std::string odd("a\0b\r\n\xff", 6);
  for (const std::string& content : {std::string(), odd, std::string((3 << 20) + 17, 'x')}) {
    ASSERT_TRUE(WriteFileAtomically(Path("f"), content).ok());
    EXPECT_EQ(ReadFile(Path("f")).value(), content);
    EXPECT_EQ(FileSize(Path("f")).value(), content.size());
  }
  EXPECT_THAT(ListFolder(folder_, ListMode::kEntries).value(), ElementsAre("f"));
}

TEST_F(FileTest, MissingFileIsNotFoundAndNamed) {
  const Status status = ReadFile(Path("gone")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr(Path("gone")), HasSubstr("No such file or directory")));
  EXPECT_EQ(FileSize(Path("gone")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(SyncFile(Path("gone")).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ListFolder(Path("gone"), ListMode::kEntries).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(WriteFileAtomically(Path("gone/f"), "x").code(), absl::StatusCode::kNotFound);
}

TEST_F(FileTest, WrongKindIsInvalidArgument) {
  Put("f", "x");
  EXPECT_EQ(ReadFile(folder_).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FileSize(folder_).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(SyncFolder(Path("f")).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(MakeFolders(Path("f")).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(MakeFolders(Path("f/below")).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ListFolder(Path("f"), ListMode::kEntries).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadFile(std::string("a\0b", 3)).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(FileTest, WritingOverAFolderChangesNothing) {
  ASSERT_TRUE(MakeFolders(Path("taken/inside")).ok());
  EXPECT_FALSE(WriteFileAtomically(Path("taken"), "x").ok());
  EXPECT_THAT(ListFolder(folder_, ListMode::kEntries).value(), ElementsAre("taken"));
}

// The limit on file size stands for a full disk: write() fails in the middle.
TEST_F(FileTest, FailedWriteKeepsTheOldFileAndIsUnavailable) {
  Put("f", "old");
  rlimit before;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{4096, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const Status status = WriteFileAtomically(Path("f"), std::string(100000, 'x'));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, old_handler);

  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr(Path("f")), HasSubstr("File too large")));
  EXPECT_EQ(ReadFile(Path("f")).value(), "old");
  EXPECT_THAT(ListFolder(folder_, ListMode::kEntries).value(), ElementsAre("f"));
}

TEST_F(FileTest, LeftoversOfACrashedWriterAreInNobodysWay) {
  // The names that this process would take next, whatever it has written before.
  for (int i = 0; i < 100; ++i) {
    const std::string leftover = StrCat(Path("f"), ".tmp.", ::getpid(), ".", i);
    std::fclose(std::fopen(leftover.c_str(), "w"));
  }
  EXPECT_TRUE(WriteFileAtomically(Path("f"), "x").ok());
  EXPECT_EQ(ReadFile(Path("f")).value(), "x");
}

TEST(ErrnoStatus, CodeSaysWhoRetries) {
  const Status full = ErrnoStatus("write", "run/f", ENOSPC);
  EXPECT_EQ(full.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(full.message(), "cannot write run/f: No space left on device");
  EXPECT_EQ(ErrnoStatus("write", "f", EROFS).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ErrnoStatus("read", "f", EIO).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ErrnoStatus("read", "f", ENOENT).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ErrnoStatus("read", "f", EISDIR).code(), absl::StatusCode::kInvalidArgument);
}

// Root may write anywhere: there the test acts as another user for a moment.
class AsNobody {
 public:
  AsNobody() : is_root_(::geteuid() == 0) {
    constexpr uid_t kNobody = 65534;
    if (is_root_) {
      EXPECT_EQ(::seteuid(kNobody), 0);
    }
  }
  ~AsNobody() {
    if (is_root_) {
      EXPECT_EQ(::seteuid(0), 0);
    }
  }

 private:
  const bool is_root_;
};

TEST_F(FileTest, NotWritableIsUnavailable) {
  ASSERT_EQ(::chmod(folder_.c_str(), 0555), 0);
  Status written, made;
  {
    AsNobody nobody;
    written = WriteFileAtomically(Path("f"), "x");
    made = MakeFolders(Path("g"));
  }
  ASSERT_EQ(::chmod(folder_.c_str(), 0755), 0);
  EXPECT_EQ(written.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(written.message()),
              AllOf(HasSubstr(Path("f")), HasSubstr("Permission denied")));
  EXPECT_EQ(made.code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(PathExists(Path("f")));
}

TEST_F(FileTest, FoldersAreMadeWithTheirParents) {
  EXPECT_TRUE(MakeFolders(Path("a/b//c/")).ok());
  EXPECT_TRUE(IsFolder(Path("a/b/c")));
  EXPECT_TRUE(MakeFolders(Path("a/b/c")).ok());
  EXPECT_EQ(MakeFolders("").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(MakeFolders("/").ok());
  EXPECT_TRUE(MakeFolders(".").ok());
}

TEST_F(FileTest, ListsAreSortedAndRelative) {
  ASSERT_TRUE(MakeFolders(Path("b/deep")).ok());
  ASSERT_TRUE(MakeFolders(Path("empty")).ok());
  for (const auto* name : {"z", "b/deep/2", "b/deep/10", "b/1", ".hidden"}) Put(name, "x");
  ASSERT_EQ(::symlink(folder_.c_str(), Path("loop").c_str()), 0);
  EXPECT_THAT(ListFolder(folder_, ListMode::kEntries).value(),
              ElementsAre(".hidden", "b", "empty", "loop", "z"));
  EXPECT_THAT(ListFolder(folder_, ListMode::kAllFiles).value(),
              ElementsAre(".hidden", "b/1", "b/deep/10", "b/deep/2", "loop", "z"));
  EXPECT_THAT(ListFolder(Path("empty"), ListMode::kAllFiles).value(), IsEmpty());
}

TEST_F(FileTest, RemoveTreeDoesNotFollowLinks) {
  ASSERT_TRUE(MakeFolders(Path("kept")).ok());
  ASSERT_TRUE(MakeFolders(Path("gone/deep")).ok());
  Put("kept/f", "x");
  Put("gone/deep/f", "x");
  ASSERT_EQ(::symlink(Path("kept").c_str(), Path("gone/link").c_str()), 0);
  EXPECT_TRUE(RemoveTree(Path("gone")).ok());
  EXPECT_FALSE(PathExists(Path("gone")));
  EXPECT_TRUE(PathExists(Path("kept/f")));
  EXPECT_TRUE(RemoveTree(Path("gone")).ok());
  EXPECT_TRUE(RemoveTree(Path("kept/f")).ok());
  EXPECT_FALSE(PathExists(Path("kept/f")));
}

TEST_F(FileTest, HardLinkSharesTheBytes) {
  Put("f", "content");
  ASSERT_TRUE(HardLinkOrCopy(Path("f"), Path("g")).ok());
  EXPECT_EQ(ReadFile(Path("g")).value(), "content");
  // Replacing one name leaves the other as it was.
  Put("f", "other");
  EXPECT_EQ(ReadFile(Path("g")).value(), "content");
  EXPECT_EQ(HardLinkOrCopy(Path("f"), Path("g")).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(HardLinkOrCopy(Path("gone"), Path("h")).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(HardLinkOrCopy(folder_, Path("h")).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(FileTest, LinkAcrossFileSystemsIsACopy) {
  struct stat here, there;
  if (::stat("/dev/shm", &there) != 0 || ::access("/dev/shm", W_OK) != 0 ||
      ::stat(folder_.c_str(), &here) != 0 || here.st_dev == there.st_dev) {
    GTEST_SKIP() << "no second file system";
  }
  const std::string other = StrCat("/dev/shm/cairn_file_test.", ::getpid());
  const std::string content((2 << 20) + 3, 'y');
  Put("f", content);
  ASSERT_TRUE(HardLinkOrCopy(Path("f"), other).ok());
  EXPECT_EQ(ReadFile(other).value(), content);
  EXPECT_EQ(HardLinkOrCopy(Path("f"), other).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(ReadFile(other).value(), content);
  EXPECT_TRUE(RemoveTree(other).ok());
}

TEST_F(FileTest, ErrorOfTheTakerEndsTheReading) {
  Put("f", std::string(3 << 20, 'x'));
  int calls = 0;
  const Status status = ReadFileInPieces(Path("f"), [&calls](std::string_view) {
    ++calls;
    return absl::AbortedError("enough");
  });
  EXPECT_EQ(status.message(), "enough");
  EXPECT_EQ(calls, 1);
}

TEST(CheckRelativePath, RefusesWhatLeavesTheFolder) {
  for (const char* good : {"a", "a/b", "..a", "a..", "...", ".hidden", "a b", "ps-0/000012.sst"}) {
    EXPECT_TRUE(CheckRelativePath(good).ok()) << good;
  }
  for (const char* bad :
       {"", "/", "/a", "..", ".", "../a", "a/..", "a/../b", "a/./b", "a//b", "a/", "./a"}) {
    EXPECT_EQ(CheckRelativePath(bad).code(), absl::StatusCode::kInvalidArgument) << bad;
  }
  EXPECT_FALSE(CheckRelativePath(std::string_view("a\0b", 3)).ok());
}

TEST(Paths, JoinAndFolder) {
  EXPECT_EQ(JoinPath("a", "b"), "a/b");
  EXPECT_EQ(JoinPath("a/", "b"), "a/b");
  EXPECT_EQ(JoinPath("/", "b"), "/b");
  EXPECT_EQ(JoinPath("", "b"), "b");
  EXPECT_EQ(JoinPath(".", "b"), "b");
  EXPECT_EQ(FolderOf("a/b/c"), "a/b");
  EXPECT_EQ(FolderOf("a/b/"), "a");
  EXPECT_EQ(FolderOf("a"), ".");
  EXPECT_EQ(FolderOf("/a"), "/");
  EXPECT_EQ(FolderOf("/"), "/");
}

}  // namespace
}  // namespace cairn

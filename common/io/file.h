// Whole files and folders, with errors that name the path and the system's reason.
//
// Errors of every function: NotFound when the path is not there; InvalidArgument when it is of the
// wrong kind (a folder where a file is meant, or the reverse); Unavailable for everything that may
// pass (disk full, not writable, I/O error, too many open files). Messages read
// `cannot write run/manifest: No space left on device`.
// Thread-safety: all functions may be called from any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"

namespace cairn {

// Status of a failed system call: "cannot <verb> <path>: <text of error_number>".
Status ErrnoStatus(std::string_view verb, std::string_view path, int error_number);

Result<std::string> ReadFile(const std::string& path);

// Calls `take` with the file's bytes in order, at most 1 MiB at once. An error of `take` ends it.
Status ReadFileInPieces(const std::string& path,
                        const std::function<Status(std::string_view)>& take);

// After success the file holds `content`, also after power loss; after an error, or a crash at any
// moment, it is as it was before. Writes a file `<path>.tmp.<pid>.<n>` beside it, syncs, renames
// and syncs the folder. Replaces an existing file, but not a folder.
Status WriteFileAtomically(const std::string& path, std::string_view content);

// Makes a file's bytes, or a folder's entries, survive power loss.
Status SyncFile(const std::string& path);
Status SyncFolder(const std::string& path);

// Makes `path` and its missing parents; each new entry is synced. OK if it is a folder already.
Status MakeFolders(const std::string& path);

// Removes a file, or a folder with all that is in it; links are removed, not followed. OK if there
// is nothing.
Status RemoveTree(const std::string& path);

enum class ListMode {
  kEntries,   // names of the folder's own entries, of any kind
  kAllFiles,  // paths, relative to the folder, of everything below it that is not a folder
};
// Sorted by bytes. Links are listed, not followed.
Result<std::vector<std::string>> ListFolder(const std::string& path, ListMode mode);

// Whether there is something at `path` (a link to nothing counts as nothing).
bool PathExists(const std::string& path);
bool IsFolder(const std::string& path);

// Bytes of a regular file.
Result<std::uint64_t> FileSize(const std::string& path);

// Makes `to` another name of the file `from`, or a synced copy where the file system cannot link.
// AlreadyExists if `to` is there. The caller syncs the folder of `to`.
Status HardLinkOrCopy(const std::string& from, const std::string& to);

// OK for a path that stays below the folder it is joined to: not empty, not absolute, no empty,
// "." or ".." component, no NUL byte. InvalidArgument otherwise. For names read from files or
// peers.
Status CheckRelativePath(std::string_view path);

// `name` below `folder`: one slash between them; "" or "." as folder gives `name`.
std::string JoinPath(std::string_view folder, std::string_view name);

// Folder part of a path, "." if it has none.
std::string FolderOf(std::string_view path);

}  // namespace cairn

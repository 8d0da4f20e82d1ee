/*
 * The layer between a process and its disk, for tests: loaded in front of libc by LD_PRELOAD.
 *
 * It notes, for each file below one folder, what stood where before every write, and how far the file has been synced.
 * The notes outlive the process. When it is killed, `reveille-powercut` reads them and takes back what a disk that lost
 * its power at that moment need not have kept. It also fills the disk up and fails a sync when it is told to.
 *
 * A file descriptor is ours if it was opened by a path below the folder. SQLite's index of the log (-shm) is memory, not
 * data: its writes are not noted, but they need room like any other.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum kind { NAME = 1, WRITE, TRUNCATE, SYNC, SYNC_FAILED, CREATE, UNLINK, RENAME, FOLDER_SYNC };

/* One note: this head, then `bytes` bytes. The reader is src/notes.rs. */
struct note {
    uint32_t kind, file;
    uint64_t number;  /* rises with each note; the life of the process in its upper bits */
    uint64_t offset;  /* WRITE: where; TRUNCATE: the new length; SYNC: up to which number */
    uint64_t length;  /* WRITE: how much; TRUNCATE: the old length */
    uint64_t before;  /* how long the file was */
    uint64_t bytes;
};

/* What the test says and is told: words of 64 bits in a file that both sides see. */
struct levers {
    int64_t room;       /* by how many bytes files may still grow; negative: as they like */
    int64_t fail_syncs; /* how many of the next syncs fail */
    int64_t syncs, writes, refused, failed, life;
    int64_t spare_logs; /* not 0: a log (-wal) is spared by the syncs that fail */
    int64_t lies;       /* not 0: every so many-th sync says that it has and has not */
};

enum { FILES = 4096, DESCRIPTORS = 65536, SHM = FILES, FOLDER = FILES + 1, PATH = 1024 };

struct file {
    char path[PATH];
    int named;
    uint64_t last, synced; /* numbers of the last note that changes it, and of what is safe */
    int lost;              /* a failed sync has lost something: never safe again */
    uint32_t failures;     /* how often a sync has failed */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char folder[PATH], graves[PATH];
static size_t folder_length;
static int notes = -1, inherited;
static struct levers *levers;
static struct file files[FILES];
static uint32_t file_count;
static int owners[DESCRIPTORS]; /* file + 1; 0: not ours */
static uint32_t told[DESCRIPTORS]; /* of how many failures each has been told */
static uint64_t number, folder_last, folder_synced;
static uint64_t noted_bytes, grave_count, graves_cleared;

#define REAL(result, name, ...) \
    static result (*real_##name)(__VA_ARGS__); \
    static void find_##name(void) { if (!real_##name) real_##name = dlsym(RTLD_NEXT, #name); }
REAL(int, open, const char *, int, ...)
REAL(int, openat, int, const char *, int, ...)
REAL(int, close, int)
REAL(ssize_t, write, int, const void *, size_t)
REAL(ssize_t, pwrite, int, const void *, size_t, off_t)
REAL(int, ftruncate, int, off_t)
REAL(int, fsync, int)
REAL(int, fdatasync, int)
REAL(int, unlink, const char *)
REAL(int, rename, const char *, const char *)

/* Whoever was killed in the middle of a note had not done what it says, and the next one must not begin within it. */
static void end_with_a_whole_note(void) {
    struct stat is;
    if (notes < 0 || fstat(notes, &is) != 0) return;
    struct note head;
    for (off_t at = 0, next; at < is.st_size; at = next) {
        next = at + (off_t)sizeof head;
        if (pread(notes, &head, sizeof head, at) == (ssize_t)sizeof head) next += (off_t)head.bytes;
        if (next > is.st_size && real_ftruncate(notes, at) != 0) abort();
    }
}

__attribute__((constructor)) static void begin(void) {
    find_open(); find_openat(); find_close(); find_write(); find_pwrite(); find_ftruncate(); find_fsync();
    find_fdatasync(); find_unlink(); find_rename();
    const char *where = getenv("REVEILLE_POWER_FOLDER"), *aside = getenv("REVEILLE_POWER_ASIDE");
    if (!where || !aside || strlen(where) + 64 > PATH || strlen(aside) + 64 > PATH) return;
    char path[PATH];
    snprintf(path, sizeof path, "%s/levers", aside);
    int descriptor = real_open(path, O_RDWR | O_CLOEXEC);
    if (descriptor < 0) return;
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    real_close(descriptor);
    if (page == MAP_FAILED) return;
    levers = page;
    levers->life++;
    number = (uint64_t)levers->life << 40;
    snprintf(path, sizeof path, "%s/notes", aside);
    notes = real_open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    end_with_a_whole_note();
    struct stat is;
    inherited = notes >= 0 && fstat(notes, &is) == 0 && is.st_size > 0;
    snprintf(graves, sizeof graves, "%s/graves", aside);
    strcpy(folder, where);
    folder_length = strlen(folder);
}

/* Whether a path is below the folder; 2 if it is the folder itself. Relative paths are not followed: tests give whole ones. */
static int is_ours(const char *path) {
    if (notes < 0 || !path || strncmp(path, folder, folder_length) != 0) return 0;
    const char *rest = path + folder_length;
    if (*rest == 0 || strcmp(rest, "/") == 0 || strcmp(rest, "/.") == 0) return 2;
    return *rest == '/' && strlen(path) < PATH;
}

static int ends_with(const char *path, const char *end) {
    size_t length = strlen(path), ending = strlen(end);
    return length >= ending && strcmp(path + length - ending, end) == 0;
}

static void put(const void *bytes, size_t length) {
    const char *from = bytes;
    while (length > 0) {
        ssize_t done = real_write(notes, from, length);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) abort(); /* a test without its notes would prove nothing */
        from += done;
        length -= (size_t)done;
    }
}

static uint64_t note(enum kind kind, uint32_t file, uint64_t offset, uint64_t length, uint64_t before, const void *bytes,
                     uint64_t count) {
    struct note head = {kind, file, ++number, offset, length, before, count};
    put(&head, sizeof head);
    if (count) put(bytes, count);
    noted_bytes += sizeof head + count;
    return head.number;
}

static uint32_t life_of(uint32_t index) { return (uint32_t)(levers->life << 12) | index; }

static void name(uint32_t index) {
    if (files[index].named) return;
    files[index].named = 1;
    note(NAME, life_of(index), 0, 0, 0, files[index].path, strlen(files[index].path));
}

/* Notes that no cut can need any more are thrown away. */
static void forget_if_safe(void) {
    if (inherited || noted_bytes < (1 << 20) || folder_last > folder_synced) return;
    for (uint32_t index = 0; index < file_count; index++)
        if (files[index].lost || files[index].last > files[index].synced) return;
    if (real_ftruncate(notes, 0) != 0) abort();
    noted_bytes = 0;
    for (uint32_t index = 0; index < file_count; index++) files[index].named = 0;
    for (; graves_cleared < grave_count; graves_cleared++) {
        char path[PATH + 32];
        snprintf(path, sizeof path, "%s/%lld-%llu", graves, (long long)levers->life, (unsigned long long)graves_cleared);
        real_unlink(path);
    }
}

static int known(const char *path) {
    for (uint32_t index = 0; index < file_count; index++)
        if (strcmp(files[index].path, path) == 0) return (int)index;
    return -1;
}

static void opened(int descriptor, const char *path, int existed) {
    if (descriptor < 0 || descriptor >= DESCRIPTORS) return;
    int ours = is_ours(path);
    struct stat is;
    if (ours == 2 || (ours && fstat(descriptor, &is) == 0 && S_ISDIR(is.st_mode))) {
        owners[descriptor] = FOLDER + 1;
        return;
    }
    if (ends_with(path, "-shm")) {
        owners[descriptor] = SHM + 1;
        return;
    }
    int index = known(path);
    if (index < 0) {
        if (file_count == FILES) abort();
        index = (int)file_count++;
        memset(&files[index], 0, sizeof files[index]);
        strcpy(files[index].path, path);
    }
    if (!existed) folder_last = note(CREATE, life_of((uint32_t)index), 0, 0, 0, path, strlen(path));
    owners[descriptor] = index + 1;
    told[descriptor] = files[index].failures;
}

static int open_any(int at, const char *path, int flags, mode_t mode) {
    if (notes < 0 || !is_ours(path)) return real_openat(at, path, flags, mode);
    pthread_mutex_lock(&lock);
    struct stat is;
    int existed = stat(path, &is) == 0;
    int descriptor = -1;
    if (existed || !(flags & O_CREAT) || levers->room != 0) {
        int saved_truncation = existed && (flags & O_TRUNC) && is.st_size > 0 ? O_TRUNC : 0;
        descriptor = real_openat(at, path, flags & ~saved_truncation, mode);
        int why = errno;
        opened(descriptor, path, existed || descriptor < 0);
        pthread_mutex_unlock(&lock);
        errno = why;
        if (descriptor >= 0 && saved_truncation && ftruncate(descriptor, 0) != 0) return -1;
        return descriptor;
    }
    levers->refused++;
    pthread_mutex_unlock(&lock);
    errno = ENOSPC;
    return -1;
}

#define MODE(flags, mode) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | __O_TMPFILE)) { va_list list; va_start(list, flags); mode = va_arg(list, mode_t); va_end(list); }

int open(const char *path, int flags, ...) { MODE(flags, mode) find_openat(); return open_any(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags, mode) find_openat(); return open_any(AT_FDCWD, path, flags | O_LARGEFILE, mode); }
int openat(int at, const char *path, int flags, ...) { MODE(flags, mode) find_openat(); return open_any(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE(flags, mode) find_openat(); return open_any(at, path, flags | O_LARGEFILE, mode); }

static int owner(int descriptor) {
    return notes < 0 || descriptor < 0 || descriptor >= DESCRIPTORS ? -1 : owners[descriptor] - 1;
}

int close(int descriptor) {
    find_close();
    if (owner(descriptor) >= 0) {
        pthread_mutex_lock(&lock);
        owners[descriptor] = 0;
        pthread_mutex_unlock(&lock);
    }
    return real_close(descriptor);
}

/* What stands there now. */
static void look(int descriptor, int index, void *into, size_t count, off_t offset) {
    if (pread(descriptor, into, count, offset) >= 0) return;
    /* Opened for writing only: by its name, then. SQLite's files never are; closing one here would undo its locks. */
    int reader = real_open(files[index].path, O_RDONLY | O_CLOEXEC);
    if (reader < 0 || pread(reader, into, count, offset) < 0) abort();
    real_close(reader);
}

static ssize_t write_at(int descriptor, int index, const void *bytes, size_t count, off_t offset) {
    pthread_mutex_lock(&lock);
    struct stat is;
    if (fstat(descriptor, &is) != 0) is.st_size = 0;
    int64_t growth = (int64_t)offset + (int64_t)count - (int64_t)is.st_size;
    if (growth > 0 && levers->room >= 0) {
        if (growth > levers->room) {
            /* A file system writes what still fits, and refuses the next. */
            int64_t fits = (int64_t)count - (growth - levers->room);
            levers->refused++;
            if (fits <= 0) {
                pthread_mutex_unlock(&lock);
                errno = ENOSPC;
                return -1;
            }
            count = (size_t)fits;
            growth = levers->room;
        }
        levers->room -= growth;
    }
    if (index < FILES && count > 0) {
        static char *old;
        static size_t room;
        if (count > room) {
            old = realloc(old, count);
            if (!old) abort();
            room = count;
        }
        memset(old, 0, count);
        if (offset < is.st_size) look(descriptor, index, old, count, offset);
        name((uint32_t)index);
        files[index].last =
            note(WRITE, life_of((uint32_t)index), (uint64_t)offset, count, (uint64_t)is.st_size, old, count);
        levers->writes++;
    }
    ssize_t done = real_pwrite(descriptor, bytes, count, offset);
    int why = errno;
    pthread_mutex_unlock(&lock);
    errno = why;
    return done;
}

ssize_t pwrite(int descriptor, const void *bytes, size_t count, off_t offset) {
    find_pwrite();
    int index = owner(descriptor);
    if (index < 0 || index == FOLDER) return real_pwrite(descriptor, bytes, count, offset);
    return write_at(descriptor, index, bytes, count, offset);
}
ssize_t pwrite64(int descriptor, const void *bytes, size_t count, off_t offset) {
    return pwrite(descriptor, bytes, count, offset);
}
ssize_t write(int descriptor, const void *bytes, size_t count) {
    find_write();
    int index = owner(descriptor);
    if (index < 0 || index == FOLDER) return real_write(descriptor, bytes, count);
    off_t at = lseek(descriptor, 0, fcntl(descriptor, F_GETFL) & O_APPEND ? SEEK_END : SEEK_CUR);
    ssize_t done = write_at(descriptor, index, bytes, count, at);
    if (done > 0) lseek(descriptor, at + done, SEEK_SET);
    return done;
}

int ftruncate(int descriptor, off_t length) {
    find_ftruncate();
    int index = owner(descriptor);
    if (index < 0 || index >= FILES) return real_ftruncate(descriptor, length);
    pthread_mutex_lock(&lock);
    struct stat is;
    if (fstat(descriptor, &is) != 0) is.st_size = 0;
    char *tail = NULL;
    size_t cut = 0;
    if (length < is.st_size) {
        cut = (size_t)(is.st_size - length);
        tail = calloc(1, cut);
        if (!tail) abort();
        look(descriptor, index, tail, cut, length);
    }
    name((uint32_t)index);
    files[index].last = note(TRUNCATE, life_of((uint32_t)index), (uint64_t)length, (uint64_t)is.st_size,
                             (uint64_t)is.st_size, tail, cut);
    free(tail);
    int done = real_ftruncate(descriptor, length);
    int why = errno;
    pthread_mutex_unlock(&lock);
    errno = why;
    return done;
}
int ftruncate64(int descriptor, off_t length) { return ftruncate(descriptor, length); }

static int sync_any(int descriptor, int (*real)(int)) {
    int index = owner(descriptor);
    if (index < 0 || index == SHM) return real(descriptor);
    pthread_mutex_lock(&lock);
    uint64_t upto = number;
    int fails = index < FILES && levers->fail_syncs > 0;
    if (fails && levers->spare_logs && ends_with(files[index].path, "-wal")) fails = 0;
    if (fails) levers->fail_syncs--;
    levers->syncs++;
    int lies = levers->lies > 0 && levers->syncs % levers->lies == 0;
    pthread_mutex_unlock(&lock);
    if (lies) return 0;
    int done = fails ? -1 : real(descriptor), why = fails ? EIO : errno, told_now = 0;
    pthread_mutex_lock(&lock);
    if (index < FILES) {
        if (fails) files[index].failures++;
        /* Every descriptor is told of a failure once, whoever's sync it was (fsync(2), ERRORS, EIO). */
        told_now = told[descriptor] != files[index].failures;
        told[descriptor] = files[index].failures;
    }
    if (index == FOLDER) {
        if (done == 0) {
            note(FOLDER_SYNC, 0, upto, 0, 0, NULL, 0);
            folder_synced = upto;
        }
    } else {
        name((uint32_t)index);
        /* Linux marks pages clean that it could not write: the next sync succeeds without them (fsync(2), NOTES). */
        note(done == 0 ? SYNC : SYNC_FAILED, life_of((uint32_t)index), upto, 0, 0, NULL, 0);
        if (done == 0) files[index].synced = upto;
        else { files[index].lost = 1; levers->failed++; }
    }
    forget_if_safe();
    pthread_mutex_unlock(&lock);
    errno = told_now ? EIO : why;
    return told_now ? -1 : done;
}
int fsync(int descriptor) { find_fsync(); return sync_any(descriptor, real_fsync); }
int fdatasync(int descriptor) { find_fdatasync(); return sync_any(descriptor, real_fdatasync); }

/* Keeps what is about to lose its name; answers how it is called there. */
static uint64_t bury(const char *path) {
    char grave[PATH + 32];
    uint64_t at = grave_count++;
    snprintf(grave, sizeof grave, "%s/%lld-%llu", graves, (long long)levers->life, (unsigned long long)at);
    if (link(path, grave) != 0) abort();
    return at;
}

static void lose_name(const char *path) {
    int index = known(path);
    if (index >= 0) files[index].path[0] = 0;
}

int unlink(const char *path) {
    find_unlink();
    struct stat is;
    if (!is_ours(path) || ends_with(path, "-shm") || stat(path, &is) != 0) return real_unlink(path);
    pthread_mutex_lock(&lock);
    uint64_t grave = bury(path);
    folder_last = note(UNLINK, 0, grave, (uint64_t)levers->life, 0, path, strlen(path));
    lose_name(path);
    int done = real_unlink(path);
    int why = errno;
    pthread_mutex_unlock(&lock);
    errno = why;
    return done;
}

int rename(const char *from, const char *to) {
    find_rename();
    if (!is_ours(from) || !is_ours(to)) return real_rename(from, to);
    pthread_mutex_lock(&lock);
    struct stat is;
    int replaces = stat(to, &is) == 0;
    uint64_t grave = replaces ? bury(to) : 0;
    char both[2 * PATH];
    int length = snprintf(both, sizeof both, "%s%c%s", from, 0, to);
    folder_last = note(RENAME, 0, grave, (uint64_t)levers->life, (uint64_t)replaces, both, (uint64_t)length);
    lose_name(to);
    int index = known(from);
    if (index >= 0) strcpy(files[index].path, to);
    int done = real_rename(from, to);
    int why = errno;
    pthread_mutex_unlock(&lock);
    errno = why;
    return done;
}

/* A stand-in for the Moore Threads management library, written from the public binding's names and layouts.
 * soname: libmtml.so
 *
 * It answers what the file named in ULLAGE_MTHREADS_SCENARIO says (../README.md), 4 (not supported) otherwise.
 * Handles are real objects: one that was given back, or of another kind, answers 3; mtmlEmulatorLive counts those
 * that were not given back.
 */
#define SCENARIO_ENV "ULLAGE_MTHREADS_SCENARIO"
#include "../scenario.h"

enum { INVALID = 3, NOT_SUPPORTED = 4, TOO_SMALL = 6, NOT_FOUND = 7 };
enum kind { LIBRARY = 1, SYSTEM, DEVICE, INSTANCE, GPU, MEMORY, VPU, FREED };

typedef struct { enum kind kind; char thing[24]; int card; } Object;
static int live;

static Object *make(enum kind kind, const char *thing, int card) {
    Object *made = calloc(1, sizeof *made);
    if (!made) abort();
    made->kind = kind;
    made->card = card;
    snprintf(made->thing, sizeof made->thing, "%s", thing ? thing : "system");
    if (kind != INSTANCE) live++;
    return made;
}

static int give_back(Object *object, enum kind kind, const char *function) {
    int code = enter(object ? object->thing : NULL, function);
    if (code) return leave(code);
    if (!object || object->kind != kind) return leave(INVALID);
    object->kind = FREED; /* kept, so that a use after this is seen */
    live--;
    return leave(0);
}

int mtmlEmulatorLive(void) { return live; }

static int card_there(char *out, size_t size, int card) {
    snprintf(out, size, "card %d", card);
    return exists(out) && !find(out, "gone");
}

#define ENTER(object, wanted, function)                                          \
    int code = enter((object) ? (object)->thing : NULL, function);               \
    if (code) return leave(code);                                                \
    if (!(object) || ((object)->kind != (wanted) && !((wanted) == DEVICE && (object)->kind == INSTANCE))) return leave(INVALID)

int mtmlLibraryInit(Object **out) {
    int code = enter(NULL, "mtmlLibraryInit");
    if (code) return leave(code);
    *out = make(LIBRARY, NULL, 0);
    return leave(0);
}

int mtmlLibraryShutDown(Object *library) { return give_back(library, LIBRARY, "mtmlLibraryShutDown"); }

int mtmlLibraryInitSystem(Object *library, Object **out) {
    ENTER(library, LIBRARY, "mtmlLibraryInitSystem");
    *out = make(SYSTEM, NULL, 0);
    return leave(0);
}

int mtmlLibraryFreeSystem(Object *system) { return give_back(system, SYSTEM, "mtmlLibraryFreeSystem"); }
int mtmlLibraryFreeDevice(Object *device) { return give_back(device, DEVICE, "mtmlLibraryFreeDevice"); }

static int text_into(const char *thing, const char *key, char *out, unsigned length) {
    const char *text = find(thing, key);
    if (!text) return NOT_SUPPORTED;
    if (strlen(text) + 1 > length) return TOO_SMALL;
    strcpy(out, text);
    return 0;
}

int mtmlSystemGetDriverVersion(Object *system, char *out, unsigned length) {
    ENTER(system, SYSTEM, "mtmlSystemGetDriverVersion");
    return leave(text_into("system", "driver", out, length));
}

int mtmlLibraryCountDevice(Object *library, unsigned *out) {
    ENTER(library, LIBRARY, "mtmlLibraryCountDevice");
    char t[24];
    *out = (unsigned)number("system", "device_count", 0);
    if (!find("system", "device_count"))
        for (int i = 0; i < 64; i++) *out += (unsigned)card_there(t, sizeof t, i);
    return leave(0);
}

int mtmlLibraryInitDeviceByIndex(Object *library, unsigned index, Object **out) {
    ENTER(library, LIBRARY, "mtmlLibraryInitDeviceByIndex");
    char t[24];
    unsigned seen = 0;
    for (int i = 0; i < 64; i++)
        if (card_there(t, sizeof t, i) && seen++ == index) {
            *out = make(DEVICE, t, i);
            return leave(0);
        }
    return leave(NOT_FOUND);
}

#define DEVICE_TEXT(function, key)                                            \
    int function(Object *device, char *out, unsigned length) {                \
        ENTER(device, DEVICE, #function);                                     \
        return leave(text_into(device->thing, key, out, length));             \
    }
DEVICE_TEXT(mtmlDeviceGetUUID, "uuid")
DEVICE_TEXT(mtmlDeviceGetName, "name")
DEVICE_TEXT(mtmlDeviceGetMtBiosVersion, "bios")
DEVICE_TEXT(mtmlDeviceGetGpuPath, "gpu_path")
DEVICE_TEXT(mtmlDeviceGetPrimaryPath, "primary_path")
DEVICE_TEXT(mtmlDeviceGetRenderPath, "render_path")

/* the one with its length in front */
int mtmlDeviceGetSerialNumber(Object *device, unsigned length, char *out) {
    ENTER(device, DEVICE, "mtmlDeviceGetSerialNumber");
    return leave(text_into(device->thing, "serial", out, length));
}

typedef struct {
    char sbdf[32];
    unsigned segment, bus, device, device_id, subsystem_id, bus_width;
    float max_speed, now_speed;
    unsigned max_width, now_width, max_gen, now_gen;
    int reserved[6];
} Pci;
_Static_assert(sizeof(Pci) == 104, "MtmlPciInfo");

int mtmlDeviceGetPciInfo(Object *device, Pci *out) {
    ENTER(device, DEVICE, "mtmlDeviceGetPciInfo");
    int failed = text_into(device->thing, "pci", out->sbdf, sizeof out->sbdf);
    if (failed) return leave(failed);
    const char *link = find(device->thing, "link"); /* generation now, most, width now, most */
    out->now_gen = (unsigned)part(link, 0, 0);
    out->max_gen = (unsigned)part(link, 1, 0);
    out->now_width = (unsigned)part(link, 2, 0);
    out->max_width = (unsigned)part(link, 3, 0);
    return leave(0);
}

int mtmlDeviceGetProperty(Object *device, uint32_t *out) {
    ENTER(device, DEVICE, "mtmlDeviceGetProperty");
    out[0] = 1u << 4 | (uint32_t)number(device->thing, "mpc_type", 0) << 5;
    return leave(0);
}

static int unsigned_of(Object *object, const char *key, unsigned *out) {
    if (!find(object->thing, key)) return NOT_SUPPORTED;
    *out = (unsigned)number(object->thing, key, 0);
    return 0;
}

#define GET_UINT(function, kind, key)                                         \
    int function(Object *object, unsigned *out) {                             \
        ENTER(object, kind, #function);                                       \
        return leave(unsigned_of(object, key, out));                          \
    }
GET_UINT(mtmlDeviceGetPowerUsage, DEVICE, "power")
GET_UINT(mtmlDeviceCountGpuCores, DEVICE, "cores")
GET_UINT(mtmlDeviceCountFan, DEVICE, "fans")
GET_UINT(mtmlDeviceGetMpcMode, DEVICE, "mpc_mode")
GET_UINT(mtmlDeviceGetMpcInstanceIndex, DEVICE, "instance")
GET_UINT(mtmlGpuGetUtilization, GPU, "utilization")
GET_UINT(mtmlGpuGetTemperature, GPU, "temperature")
GET_UINT(mtmlGpuGetClock, GPU, "clock")
GET_UINT(mtmlGpuGetMaxClock, GPU, "max_clock")
GET_UINT(mtmlMemoryGetClock, MEMORY, "memory_clock")
GET_UINT(mtmlMemoryGetRetiredPagesPendingStatus, MEMORY, "pending")
GET_UINT(mtmlVpuGetClock, VPU, "video_clock")

#define GET_LARGE(function, key)                                              \
    int function(Object *object, uint64_t *out) {                             \
        ENTER(object, MEMORY, #function);                                     \
        if (!find(object->thing, key)) return leave(NOT_SUPPORTED);           \
        *out = (uint64_t)number(object->thing, key, 0);                       \
        return leave(0);                                                      \
    }
GET_LARGE(mtmlMemoryGetTotal, "memory_total")
GET_LARGE(mtmlMemoryGetUsed, "memory_used")
GET_LARGE(mtmlMemoryGetUsedSystem, "memory_system")

#define SUB(init, free, kind)                                                 \
    int init(Object *device, Object **out) {                                  \
        ENTER(device, DEVICE, #init);                                         \
        *out = make(kind, device->thing, device->card);                       \
        return leave(0);                                                      \
    }                                                                         \
    int free(Object *object) { return give_back(object, kind, #free); }
SUB(mtmlDeviceInitGpu, mtmlDeviceFreeGpu, GPU)
SUB(mtmlDeviceInitMemory, mtmlDeviceFreeMemory, MEMORY)
SUB(mtmlDeviceInitVpu, mtmlDeviceFreeVpu, VPU)

int mtmlVpuGetUtilization(Object *vpu, unsigned *out) {
    ENTER(vpu, VPU, "mtmlVpuGetUtilization");
    const char *text = find(vpu->thing, "codec");
    if (!text) return leave(NOT_SUPPORTED);
    out[0] = (unsigned)part(text, 0, 0);
    out[1] = (unsigned)part(text, 1, 0);
    return leave(0);
}

static int fan(Object *device, const char *function, const char *key, unsigned index, unsigned *out) {
    ENTER(device, DEVICE, function);
    const char *text = find(device->thing, key);
    if (!text) return leave(NOT_SUPPORTED);
    if (index >= (unsigned)number(device->thing, "fans", 0)) return leave(NOT_FOUND);
    *out = (unsigned)part(text, (int)index, 0);
    return leave(0);
}

int mtmlDeviceGetFanSpeed(Object *device, unsigned index, unsigned *out) { return fan(device, "mtmlDeviceGetFanSpeed", "fan_speed", index, out); }
int mtmlDeviceGetFanRpm(Object *device, unsigned index, unsigned *out) { return fan(device, "mtmlDeviceGetFanRpm", "fan_rpm", index, out); }

int mtmlMemoryGetEccMode(Object *memory, unsigned *now, unsigned *later) {
    ENTER(memory, MEMORY, "mtmlMemoryGetEccMode");
    if (!find(memory->thing, "ecc_mode")) return leave(NOT_SUPPORTED);
    *now = *later = (unsigned)number(memory->thing, "ecc_mode", 0);
    return leave(0);
}

int mtmlMemoryGetEccErrorCounter(Object *memory, unsigned type, unsigned counter, unsigned location, uint64_t *out) {
    ENTER(memory, MEMORY, "mtmlMemoryGetEccErrorCounter");
    const char *text = find(memory->thing, "ecc"); /* corrected, uncorrected, lifetime corrected, lifetime uncorrected */
    if (!text || location != 1) return leave(NOT_SUPPORTED);
    *out = (uint64_t)part(text, (int)(type + 2 * counter), 0);
    return leave(0);
}

int mtmlMemoryGetRetiredPagesCount(Object *memory, unsigned *out) {
    ENTER(memory, MEMORY, "mtmlMemoryGetRetiredPagesCount");
    const char *text = find(memory->thing, "retired");
    if (!text) return leave(NOT_SUPPORTED);
    out[0] = (unsigned)part(text, 0, 0);
    out[1] = (unsigned)part(text, 1, 0);
    return leave(0);
}

int mtmlDeviceGetMtLinkSpec(Object *device, unsigned *out) {
    ENTER(device, DEVICE, "mtmlDeviceGetMtLinkSpec");
    if (!find(device->thing, "mtlinks")) return leave(NOT_SUPPORTED);
    for (int i = 0; part(find(device->thing, "mtlinks"), i, -1) >= 0; i++) out[2]++;
    return leave(0);
}

int mtmlDeviceGetMtLinkState(Object *device, unsigned link, unsigned *out) {
    ENTER(device, DEVICE, "mtmlDeviceGetMtLinkState");
    *out = (unsigned)part(find(device->thing, "mtlinks"), (int)link, 0);
    return leave(0);
}

/* ---- MPC: "mpc 0.1" is instance 1 of card 0 */

static int instances(Object *device, Object **out, unsigned most) {
    char t[24];
    int count = 0;
    for (int i = 0; i < 16; i++) {
        snprintf(t, sizeof t, "mpc %d.%d", device->card, i);
        if (!exists(t)) continue;
        if (out && (unsigned)count < most) out[count] = make(INSTANCE, t, device->card);
        count++;
    }
    return count;
}

int mtmlDeviceCountMpcInstances(Object *device, unsigned *out) {
    ENTER(device, DEVICE, "mtmlDeviceCountMpcInstances");
    *out = (unsigned)instances(device, NULL, 0);
    return leave(0);
}

int mtmlDeviceGetMpcInstances(Object *device, unsigned count, Object **out) {
    ENTER(device, DEVICE, "mtmlDeviceGetMpcInstances");
    instances(device, out, count);
    return leave(0);
}

typedef struct { unsigned id; char name[32]; uint64_t memory; unsigned cores, reserved[4]; } Profile;

int mtmlDeviceGetMpcProfileInfo(Object *device, Profile *out) {
    ENTER(device, DEVICE, "mtmlDeviceGetMpcProfileInfo");
    const char *text = find(device->thing, "profile"); /* name, bytes, cores */
    if (!text) return leave(NOT_SUPPORTED);
    sscanf(text, "%31s", out->name);
    out->memory = (uint64_t)part(text, 1, 0);
    out->cores = (unsigned)part(text, 2, 0);
    return leave(0);
}

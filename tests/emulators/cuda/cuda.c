/* The CUDA driver API as far as probes use it. soname: libcuda.so.1
 *
 * ULLAGE_CUDA_SCENARIO=FILE (scenario.h):
 *
 *     device 0 pci 0000:3b:00.0           exists once it is named; uuid GPU-...
 *     device 0 memory 67108864            bytes of device memory
 *     device 0 stuck 1048576 3            bit 3 of the byte at this offset is always 1
 *     device 0 alias 1048576              address lines: bytes from this offset on are those from the start
 *     device 0 fail cuMemAlloc_v2 214     hang FUNCTION, crash FUNCTION alike; also of `system`
 *
 * Written by us from the CUDA Driver API reference; no NVIDIA code.
 */
#define SCENARIO_ENV "ULLAGE_CUDA_SCENARIO"
#include "../scenario.h"

#define MOST 8
static unsigned char *memory[MOST];
static size_t used[MOST], size_of[MOST];
static int current = -1;

static int begin(int device, const char *function, char *thing) {
    sprintf(thing, "device %d", device);
    return enter(device < 0 ? NULL : thing, function);
}
#define BEGIN(device, function) char thing[24]; int code = begin(device, function, thing); if (code) return leave(code)

int cuInit(unsigned flags) { (void)flags; BEGIN(-1, "cuInit"); return leave(0); }
int cuDriverGetVersion(int *version) { BEGIN(-1, "cuDriverGetVersion"); *version = 13010; return leave(0); }

int cuGetErrorName(int error, const char **name) {
    *name = error == 214 ? "CUDA_ERROR_ECC_UNCORRECTABLE" : error == 2 ? "CUDA_ERROR_OUT_OF_MEMORY"
          : error == 101 ? "CUDA_ERROR_INVALID_DEVICE" : NULL;
    return *name ? 0 : 1;
}

int cuDeviceGetByPCIBusId(int *device, const char *pci) {
    BEGIN(-1, "cuDeviceGetByPCIBusId");
    for (int i = 0; i < MOST; i++) {
        sprintf(thing, "device %d", i);
        if (!exists(thing)) continue;
        const char *text = find(thing, "pci");
        if (text && strcasecmp(text, pci) == 0) { *device = i; return leave(0); }
    }
    return leave(101);
}

int cuDeviceGetUuid(unsigned char *out, int device) {
    BEGIN(device, "cuDeviceGetUuid");
    const char *text = find(thing, "uuid");
    memset(out, 0, 16);
    for (int i = 0; text && i < 16; text++) {
        unsigned byte;
        if (strncmp(text, "GPU-", 4) == 0) text += 4;
        if (*text == '-') continue;
        if (sscanf(text, "%2x", &byte) != 1) break;
        out[i++] = byte; text++;
    }
    return leave(0);
}

int cuDevicePrimaryCtxRetain(void **context, int device) {
    BEGIN(device, "cuDevicePrimaryCtxRetain");
    size_of[device] = number(thing, "memory", 64 << 20);
    if (!memory[device] && !(memory[device] = calloc(1, size_of[device]))) return leave(2);
    *context = (void *)(intptr_t)(device + 1);
    return leave(0);
}
int cuDevicePrimaryCtxRelease_v2(int device) { BEGIN(device, "cuDevicePrimaryCtxRelease_v2"); return leave(0); }
int cuCtxSetCurrent(void *context) { current = (int)(intptr_t)context - 1; BEGIN(current, "cuCtxSetCurrent"); return leave(0); }
int cuCtxSynchronize(void) { BEGIN(current, "cuCtxSynchronize"); return leave(0); }

int cuMemGetInfo_v2(size_t *free_, size_t *total) {
    BEGIN(current, "cuMemGetInfo_v2");
    *total = size_of[current]; *free_ = size_of[current] - used[current];
    return leave(0);
}
int cuMemAlloc_v2(uint64_t *pointer, size_t bytes) {
    BEGIN(current, "cuMemAlloc_v2");
    if (used[current] + bytes > size_of[current]) return leave(2);
    *pointer = 0x100000000ull + used[current];
    used[current] += bytes;
    return leave(0);
}
int cuMemFree_v2(uint64_t pointer) { (void)pointer; BEGIN(current, "cuMemFree_v2"); return leave(0); }
int cuMemAllocHost_v2(void **pointer, size_t bytes) { *pointer = malloc(bytes); return *pointer ? 0 : 2; }
int cuMemFreeHost(void *pointer) { free(pointer); return 0; }

static unsigned char *at(const char *thing, uint64_t pointer) {
    uint64_t offset = pointer - 0x100000000ull;
    long long alias = number(thing, "alias", -1);
    if (alias > 0 && offset >= (uint64_t)alias) offset %= alias;
    return memory[current] + offset;
}
static void wear(const char *thing) {
    const char *text = find(thing, "stuck");
    if (text) memory[current][(size_t)part(text, 0, 0)] |= 1u << (int)part(text, 1, 0);
}

int cuMemsetD32_v2(uint64_t pointer, unsigned value, size_t count) {
    BEGIN(current, "cuMemsetD32_v2");
    uint32_t *word = (uint32_t *)at(thing, pointer);
    for (size_t i = 0; i < count; i++) word[i] = value;
    return leave(0);
}
int cuMemcpyDtoH_v2(void *out, uint64_t pointer, size_t bytes) {
    BEGIN(current, "cuMemcpyDtoH_v2");
    wear(thing);
    memcpy(out, at(thing, pointer), bytes);
    return leave(0);
}
int cuMemcpyHtoD_v2(uint64_t pointer, const void *in, size_t bytes) {
    BEGIN(current, "cuMemcpyHtoD_v2");
    memcpy(at(thing, pointer), in, bytes);
    return leave(0);
}
int cuMemcpyDtoD_v2(uint64_t out, uint64_t in, size_t bytes) {
    BEGIN(current, "cuMemcpyDtoD_v2");
    wear(thing);
    memcpy(at(thing, out), at(thing, in), bytes);
    return leave(0);
}

/* A stand-in for Huawei's DCMI library, written from the public headers' names and struct layouts.
 * soname: libdcmi.so
 *
 * It answers what the file named in ULLAGE_ASCEND_SCENARIO says (../README.md), -8255 (not supported) otherwise.
 * Both sets of functions are here; hide dcmi_init and the others to play the generation with dcmiv2_* alone.
 */
#define SCENARIO_ENV "ULLAGE_ASCEND_SCENARIO"
#include "../scenario.h"

enum { NOT_SUPPORTED = -8255, NOT_EXIST = -8008, BAD_PARAMETER = -8001 };

struct chip_info_v2 { unsigned char type[32], name[32], ver[32]; unsigned int cores; unsigned char npu_name[32]; };
struct pcie_info_all {
    unsigned int venderid, subvenderid, deviceid, subdeviceid;
    int domain;
    unsigned int bus, device, func;
    unsigned char reserve[32];
};
struct die_id { unsigned int soc_die[5]; };
struct hbm_info { unsigned long long size; unsigned int freq; unsigned long long usage; int temp; unsigned int bandwidth; };
struct memory_info {
    unsigned long long size, available;
    unsigned int freq;
    unsigned long hugepagesize, hugepages_total, hugepages_free;
    unsigned int utiliza;
    unsigned char reserve[60];
};
struct ecc_info { int enable; unsigned int counts[8]; };
struct proc_mem { int pid; unsigned long bytes; };
struct elabel { char product_name[256], model[256], manufacturer[256], date[256], serial[256]; };
struct hccs_statistic { unsigned long long tx[16], rx[16], crc[16], retry[16], reserved[64]; };
struct base_resource {
    unsigned long long token, token_max, task_timeout;
    unsigned int vfg_id;
    unsigned char vip_mode, reserved[31];
};
struct computing {
    float aic, aiv;
    unsigned short dsa, rtsq, acsq, cdqm, c_core, ffts, sdma, pcie_dma;
    unsigned long long memory_size;
    unsigned int event_id, notify_id, stream_id, model_id;
    unsigned short topic_schedule_aicpu, host_ctrl_cpu, host_aicpu, device_aicpu, topic_ctrl_cpu_slot;
    unsigned int utilization;
    unsigned long long memory_total, memory_free;
    unsigned char reserved[12];
};
struct media { float units[6]; unsigned char reserved[32]; };
struct soc_total {
    unsigned int vdev_num, vdev_id[32], vfg_num, vfg_bitmap;
    struct base_resource base;
    struct computing computing;
    struct media media;
};
struct vdev_query_info {
    char name[16];
    unsigned int status, is_container_used, vfid, vfg_id;
    unsigned long long container_id;
    struct base_resource base;
    struct computing computing;
    struct media media;
};
struct vdev_query { unsigned int vdev_id; struct vdev_query_info info; };

_Static_assert(sizeof(struct chip_info_v2) == 132, "chip_info_v2");
_Static_assert(sizeof(struct memory_info) == 112, "memory_info");
_Static_assert(sizeof(struct soc_total) == 360, "soc_total_resource");
_Static_assert(sizeof(struct vdev_query) == 264, "vdev_query");

static int chip(char *out, size_t size, int card, int device) {
    snprintf(out, size, "chip %d.%d", card, device);
    return exists(out) && !find(out, "gone");
}

#define CHIP(function)                                                    \
    char t[24];                                                           \
    int there, code;                                                      \
    pthread_mutex_lock(&lock); look(); there = chip(t, sizeof t, card, device); pthread_mutex_unlock(&lock); \
    code = enter(t, function);                                            \
    if (code) return leave(code);                                         \
    if (!there) return leave(NOT_EXIST)

static int whole(const char *t, const char *key, int *out) {
    if (!find(t, key)) return NOT_SUPPORTED;
    *out = (int)number(t, key, 0);
    return 0;
}

static int one_int(int card, int device, const char *function, const char *key, int *out) {
    CHIP(function);
    return leave(whole(t, key, out));
}

/* ---- library and enumeration */

int dcmi_init(void) { return leave(enter(NULL, "dcmi_init")); }
int dcmiv2_init(void) { return leave(enter(NULL, "dcmiv2_init")); }

static int listed(int *found, int most, int with_devices) {
    int count = 0;
    for (int card = 0; card < most; card++)
        for (int device = 0; device < (with_devices ? 1 : 8); device++) {
            char t[24];
            if (!chip(t, sizeof t, card, device)) continue;
            found[count++] = card;
            break;
        }
    return count;
}

int dcmi_get_card_list(int *count, int *list, int most) {
    int code = enter(NULL, "dcmi_get_card_list");
    if (code) return leave(code);
    *count = (int)number("system", "card_count", 0);
    if (!find("system", "card_count")) *count = find("system", "flat") ? 0 : listed(list, most, 0);
    return leave(0);
}

int dcmiv2_get_device_list(int *list, int *count, int most) {
    int code = enter(NULL, "dcmiv2_get_device_list");
    if (code) return leave(code);
    *count = listed(list, most, 1);
    return leave(0);
}

int dcmi_get_device_id_in_card(int card, int *most, int *mcu, int *cpu) {
    char t[24];
    int code = enter(NULL, "dcmi_get_device_id_in_card");
    if (code) return leave(code);
    *most = 0;
    for (int device = 0; device < 8; device++) *most += exists((snprintf(t, sizeof t, "chip %d.%d", card, device), t));
    *mcu = *most;
    *cpu = -1;
    return leave(0);
}

int dcmi_get_device_type(int card, int device, int *out) {
    CHIP("dcmi_get_device_type");
    *out = (int)number(t, "type", 0);
    return leave(0);
}

int dcmi_get_device_logic_id(int *out, int card, int device) {
    return one_int(card, device, "dcmi_get_device_logic_id", "logic", out);
}

int dcmi_get_device_phyid_from_logicid(unsigned int logic, unsigned int *out) {
    int code = enter(NULL, "dcmi_get_device_phyid_from_logicid");
    if (code) return leave(code);
    *out = logic + (unsigned int)number("system", "phy_offset", 0);
    return leave(0);
}

int dcmiv2_get_chip_phy_id_by_dev_id(unsigned int device, unsigned int *out) {
    return dcmi_get_device_phyid_from_logicid(device, out);
}

/* ---- one chip: every function twice */

#define BOTH(v1, v2, arguments, pass)                                 \
    static int do_##v1(int card, int device, const char *name arguments); \
    int v1(int card, int device arguments) { return do_##v1(card, device, #v1 pass); } \
    int v2(int dev_id arguments) { return do_##v1(dev_id, 0, #v2 pass); }  \
    static int do_##v1(int card, int device, const char *name arguments)
#define _A(...) , __VA_ARGS__

BOTH(dcmi_get_device_chip_info_v2, dcmiv2_get_device_chip_info, _A(struct chip_info_v2 *out), _A(out)) {
    CHIP(name);
    copy((char *)out->type, 32, "Ascend");
    copy((char *)out->name, 32, find(t, "name"));
    copy((char *)out->npu_name, 32, find(t, "npu_name"));
    out->cores = (unsigned int)number(t, "cores", 0);
    return leave(0);
}

BOTH(dcmi_get_device_pcie_info_v2, dcmiv2_get_device_pcie_info, _A(struct pcie_info_all *out), _A(out)) {
    CHIP(name);
    const char *text = find(t, "pci");
    if (!text) return leave(NOT_SUPPORTED);
    out->venderid = 0x19e5;
    if (sscanf(text, "%x:%x:%x.%x", (unsigned int *)&out->domain, &out->bus, &out->device, &out->func) != 4)
        return leave(BAD_PARAMETER);
    return leave(0);
}

BOTH(dcmi_get_device_die_v2, dcmiv2_get_device_die_id, _A(int type) _A(struct die_id *out), _A(type) _A(out)) {
    CHIP(name);
    const char *text = find(t, "die");
    if (!text) return leave(NOT_SUPPORTED);
    if (type != (int)number("system", "die_type", 1)) return leave(BAD_PARAMETER);
    sscanf(text, "%x %x %x %x %x", &out->soc_die[0], &out->soc_die[1], &out->soc_die[2], &out->soc_die[3],
           &out->soc_die[4]);
    return leave(0);
}

#define BOTH_INT(v1, v2, key) BOTH(v1, v2, _A(int *out), _A(out)) { CHIP(name); return leave(whole(t, key, out)); }
BOTH_INT(dcmi_get_device_power_info, dcmiv2_get_device_power_info, "power")
BOTH_INT(dcmi_get_device_temperature, dcmiv2_get_device_temperature, "temperature")
BOTH_INT(dcmi_get_device_voltage, dcmiv2_get_device_voltage, "voltage")
BOTH_INT(dcmi_get_device_health, dcmiv2_get_device_health, "health")
BOTH_INT(dcmi_get_device_network_health, dcmiv2_get_device_network_health, "network")

static int typed(const char *t, const char *prefix, int type, int *out) {
    char key[40];
    snprintf(key, sizeof key, "%s%d", prefix, type);
    return whole(t, key, out);
}

BOTH(dcmi_get_device_utilization_rate, dcmiv2_get_device_utilization_rate, _A(int type) _A(int *out), _A(type) _A(out)) {
    CHIP(name);
    return leave(typed(t, "rate", type, out));
}

BOTH(dcmi_get_device_frequency, dcmiv2_get_device_frequency, _A(int type) _A(int *out), _A(type) _A(out)) {
    CHIP(name);
    return leave(typed(t, "freq", type, out));
}

BOTH(dcmi_get_device_hbm_info, dcmiv2_get_device_hbm_info, _A(struct hbm_info *out), _A(out)) {
    CHIP(name);
    const char *text = find(t, "hbm"); /* total MB, used MB, temperature, MHz, bandwidth per cent */
    if (!text) return leave(NOT_SUPPORTED);
    out->size = (unsigned long long)part(text, 0, 0);
    out->usage = (unsigned long long)part(text, 1, 0);
    out->temp = (int)part(text, 2, 0);
    out->freq = (unsigned int)part(text, 3, 0);
    out->bandwidth = (unsigned int)part(text, 4, 0);
    return leave(0);
}

int dcmi_get_device_memory_info_v3(int card, int device, struct memory_info *out) {
    CHIP("dcmi_get_device_memory_info_v3");
    const char *text = find(t, "ddr"); /* total MB, available MB, MHz */
    if (!text) return leave(NOT_SUPPORTED);
    out->size = (unsigned long long)part(text, 0, 0);
    out->available = (unsigned long long)part(text, 1, 0);
    out->freq = (unsigned int)part(text, 2, 0);
    return leave(0);
}

BOTH(dcmi_get_device_ecc_info, dcmiv2_get_device_ecc_info, _A(int type) _A(struct ecc_info *out), _A(type) _A(out)) {
    CHIP(name);
    char key[16];
    snprintf(key, sizeof key, "ecc%d", type);
    const char *text = find(t, key);
    if (!text) return leave(NOT_SUPPORTED);
    out->enable = 1;
    for (int i = 0; i < 8; i++) out->counts[i] = (unsigned int)part(text, i, 0);
    return leave(0);
}

BOTH(dcmi_get_device_errorcode_v2, dcmiv2_get_device_error_code_list,
     _A(int *count) _A(unsigned int *list) _A(unsigned int most), _A(count) _A(list) _A(most)) {
    CHIP(name);
    const char *text = find(t, "codes");
    if (!text) return leave(NOT_SUPPORTED);
    char words[400], *save = NULL;
    copy(words, sizeof words, text);
    *count = 0;
    for (char *word = strtok_r(words, " ", &save); word && (unsigned int)*count < most; word = strtok_r(NULL, " ", &save))
        if (strcmp(word, "none") != 0) list[(*count)++] = (unsigned int)strtoul(word, NULL, 16);
    *count = (int)number(t, "code_count", *count);
    return leave(0);
}

BOTH(dcmi_get_device_resource_info, dcmiv2_get_device_proc_mem_info, _A(struct proc_mem *rows) _A(int *count), _A(rows) _A(count)) {
    CHIP(name);
    const char *text = find(t, "processes"); /* pid bytes pid bytes ... */
    if (!text) return leave(NOT_SUPPORTED);
    *count = 0;
    for (int i = 0; i < 16 && part(text, 2 * i, 0) > 0; i++, (*count)++) {
        rows[i].pid = (int)part(text, 2 * i, 0);
        rows[i].bytes = (unsigned long)part(text, 2 * i + 1, 0);
    }
    return leave(0);
}

BOTH(dcmi_get_device_info, dcmiv2_get_device_info,
     _A(int main_cmd) _A(unsigned int sub) _A(void *buf) _A(unsigned int *size), _A(main_cmd) _A(sub) _A(buf) _A(size)) {
    CHIP(name);
    if (main_cmd == 16 && sub == 5 && find(t, "hccs")) {
        struct hccs_statistic *out = buf;
        if (*size < sizeof *out) return leave(BAD_PARAMETER);
        for (int i = 0; i < 8; i++) {
            out->crc[i] = (unsigned long long)part(find(t, "hccs"), 0, 0);
            out->retry[i] = (unsigned long long)part(find(t, "hccs"), 1, 0);
        }
        return leave(0);
    }
    if (main_cmd != 52) return leave(NOT_SUPPORTED);
    if (sub == 1 && find(t, "vdevs")) {
        struct soc_total *out = buf;
        if (*size < sizeof *out) return leave(BAD_PARAMETER);
        for (int i = 0; i < 32 && part(find(t, "vdevs"), i, 0) > 0; i++, out->vdev_num++)
            out->vdev_id[i] = (unsigned int)part(find(t, "vdevs"), i, 0);
        return leave(0);
    }
    if (sub == 0 || sub == 5) {
        struct vdev_query *query = buf;
        char key[32];
        if (*size < sizeof *query) return leave(BAD_PARAMETER);
        snprintf(key, sizeof key, "vdev%u", query->vdev_id); /* cores MB per cent total free name */
        const char *text = find(t, key);
        if (!text) return leave(NOT_EXIST);
        query->info.computing.aic = (float)part(text, 0, 0);
        query->info.computing.memory_size = (unsigned long long)part(text, 1, 0);
        query->info.computing.utilization = (unsigned int)part(text, 2, 0);
        query->info.computing.memory_total = (unsigned long long)part(text, 3, 0);
        query->info.computing.memory_free = (unsigned long long)part(text, 4, 0);
        const char *last = strrchr(text, ' ');
        copy(query->info.name, 16, last ? last + 1 : "");
        return leave(0);
    }
    return leave(NOT_SUPPORTED);
}

/* ---- the board */

static int label(const char *t, const char *function, struct elabel *out) {
    int code = enter(t, function);
    if (code) return leave(code);
    if (!find(t, "serial")) return leave(NOT_SUPPORTED);
    copy(out->serial, sizeof out->serial, find(t, "serial"));
    return leave(0);
}

int dcmi_get_card_elabel_v2(int card, struct elabel *out) {
    char t[24];
    snprintf(t, sizeof t, "board %d", card);
    return label(t, "dcmi_get_card_elabel_v2", out);
}

int dcmiv2_get_device_elabel_info(int card, struct elabel *out) {
    char t[24];
    snprintf(t, sizeof t, "board %d", card);
    return label(t, "dcmiv2_get_device_elabel_info", out);
}

int dcmi_mcu_get_power_info(int card, int *out) {
    char t[24];
    snprintf(t, sizeof t, "board %d", card);
    int code = enter(t, "dcmi_mcu_get_power_info");
    return leave(code ? code : whole(t, "power", out));
}

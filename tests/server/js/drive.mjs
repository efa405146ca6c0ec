// Drives a server with the official JavaScript client: every case is one test, its outcome one line of JSON.
//
// node drive.mjs names              print the names of the cases
// node drive.mjs URL ACCOUNT_TOKEN  run all of them: {"name", "error": null or the text of what went wrong}

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import * as sdk from "@tago-io/sdk";

const { Account, Authorization, Device, Network, Resources } = sdk.default ?? sdk; // CommonJS until 12.1, then an ES module
const [url, account = "none"] = process.argv.slice(2);
const region = { api: url, sse: `${url}/events` };
const resources = new Resources({ token: account, region });
const { devices, files, tags, serviceAuthorization } = resources;

const CONNECTOR = "62333bd36977fc001a2990c8";
const NETWORK = "62336c32ab6e0d0012e06c04";
const FAST = { poolingTime: 1 };

async function make(type, fields = {}) {
  const chunks = type === "immutable" ? { chunk_period: "month", chunk_retention: 2 } : {};
  const made = await devices.create({ name: `JS ${type}`, type, connector: CONNECTOR, network: NETWORK, ...chunks, ...fields });
  return { ...made, id: made.device_id, client: new Device({ token: made.token, region }) };
}

async function ended(id) {
  for (;;) {
    const answer = await fetch(`${url}/device/${id}/jobs`, { headers: { token: account } });
    const [job] = (await answer.json()).result;
    if (job.state === "done" || job.state === "failed") return job;
  }
}

async function collected(stream) {
  const found = [];
  for await (const items of stream) found.push(...items);
  return found;
}

const isRecent = (date) => date instanceof Date && Math.abs(Date.now() - date) < 300_000;

const cases = {
  async "device: info"() {
    for (const type of ["mutable", "immutable"]) {
      const { id, client } = await make(type);
      await client.sendData({ variable: "a", value: 1 });
      const info = await client.info();
      assert.equal(info.id, id);
      assert.equal(info.type, type);
      assert.ok(isRecent(info.last_input) && isRecent(info.created_at) && isRecent(info.updated_at));
    }
  },

  async "device: sendData and getData"() {
    const { client } = await make("immutable");
    const point = { variable: "Temperature", unit: "F", value: 55, time: new Date(), location: { lat: 42.29, lng: -85.62 }, metadata: { a: [1] } };
    assert.equal(await client.sendData(point), "1 Data Added");
    assert.equal(await client.sendData([{ variable: "on", value: true }, { variable: "name", value: "x" }]), "2 Data Added");
    const [row] = await client.getData({ variables: ["temperature"], qty: 5, start_date: "1 day", details: true });
    assert.deepEqual([row.value, row.unit, row.metadata], [55, "F", { a: [1] }]);
    assert.deepEqual(row.location, { type: "Point", coordinates: [-85.62, 42.29] });
    assert.ok(isRecent(row.time) && isRecent(row.created_at));
    const last = await client.getData({ query: "last_item", variables: ["on", "name"] });
    assert.deepEqual(last.map((item) => item.value), [true, "x"]);
    assert.equal((await client.getData({ values: [55] })).length, 1);
    assert.equal((await client.getData({ groups: [row.group] })).length, 1);
    assert.equal((await client.getData({ end_date: new Date(Date.now() - 60_000) })).length, 0);
  },

  async "device: numbers come as rows"() {
    const { id, client } = await make("mutable");
    await client.sendData([1, 2, 4, 5.5].map((value) => ({ variable: "a", value })));
    for (const [query, value] of [["count", 4], ["sum", 12.5], ["avg", 3.125]]) {
      const [own] = await client.getData({ query, start_date: "1 day", variables: "a" });
      const [other] = await devices.getDeviceData(id, { query, start_date: "1 day", variables: "a" });
      assert.deepEqual([own.value, other.value], [value, value]);
    }
    const buckets = await client.getData({ query: "aggregate", interval: "year", function: "sum", start_date: "1 day" });
    assert.equal(buckets.reduce((sum, bucket) => sum + bucket.value, 0), 12.5);
    const above = await client.getData({ query: "conditional", function: "gt", value: 2, start_date: "1 day" });
    assert.deepEqual(above.map((row) => row.value).sort(), [4, 5.5]);
    assert.equal((await client.getData({ query: "max", variables: ["a"] }))[0].value, 5.5);
    assert.equal((await client.getData({ query: "min", variables: ["a"] }))[0].value, 1);
  },

  async "device: editData and deleteData"() {
    const { client } = await make("mutable");
    await client.sendData(Array.from({ length: 20 }, (_, value) => ({ variable: "a", value })));
    const [row] = await client.getData({ qty: 1 });
    assert.equal(await client.editData({ id: row.id, value: "new", unit: "K" }), "1 item(s) updated");
    const [edited] = await client.getData({ ids: [row.id] });
    assert.deepEqual([edited.value, edited.unit], ["new", "K"]);
    assert.equal(await client.deleteData({ ids: [row.id] }), "1 Data Removed");
    assert.equal(await client.deleteData(), "1 Data Removed");
    assert.equal(await client.deleteData({ variables: ["a"], qty: 9999 }), "18 Data Removed");
  },

  async "device: an immutable one is not edited"() {
    const { client } = await make("immutable");
    await client.sendData({ variable: "a" });
    const [row] = await client.getData();
    await assert.rejects(client.editData({ id: row.id, value: 1 }), (error) => /immutable device/.test(String(error)));
    await assert.rejects(client.deleteData(), (error) => /immutable devices/.test(String(error)));
  },

  async "device: getParameters and setParameterAsRead"() {
    const { id, client } = await make("mutable");
    await devices.paramSet(id, { key: "a", value: "1", sent: false });
    const [parameter] = await client.getParameters("onlyUnRead");
    assert.equal(await client.setParameterAsRead(parameter.id), "Params Successfully Updated");
    assert.deepEqual(await client.getParameters("onlyUnRead"), []);
    assert.equal((await client.getParameters("onlyRead")).length, 1);
    assert.equal((await client.getParameters("all"))[0].sent, true);
  },

  async "device: streaming"() {
    const { client } = await make("immutable");
    const points = Array.from({ length: 2500 }, (_, value) => ({ variable: "a", value }));
    assert.equal(await client.sendDataStreaming(points, FAST), "2500 Data added.");
    const found = await collected(client.getDataStreaming({}, FAST));
    assert.deepEqual(found.map((row) => row.value), points.map((point) => point.value));
  },

  async "devices: create, info, list, edit, delete"() {
    const { id } = await make("mutable", { tags: [{ key: "js", value: "5" }], configuration_params: [{ key: "k", value: "v", sent: false }] });
    const info = await devices.info(id);
    assert.deepEqual([info.name, info.connector, info.network, info.tags], ["JS mutable", CONNECTOR, NETWORK, [{ key: "js", value: "5" }]]);
    assert.ok(isRecent(info.created_at) && info.last_input === null);
    assert.equal(await devices.edit(id, { name: "JS edited", description: "text", visible: false }), "Successfully Updated");
    const filter = { name: "js ed*", tags: [{ key: "js", value: "5" }], visible: false };
    const rows = await devices.list({ filter, fields: ["id", "name", "created_at"], orderBy: ["name", "desc"], amount: 5, page: 1 });
    assert.deepEqual(rows.map((row) => [row.id, row.name]), [[id, "JS edited"]]);
    assert.ok(isRecent(rows[0].created_at));
    assert.ok((await collected(devices.listStreaming({ filter: { name: "JS *" } }, FAST))).some((row) => row.id === id));
    assert.equal(await devices.delete(id), "Successfully Removed");
    await assert.rejects(devices.info(id), (error) => String(error) === "Device not found");
  },

  async "devices: paramSet, paramList, paramRemove"() {
    const { id } = await make("mutable");
    assert.equal(await devices.paramSet(id, { key: "threshold", value: "25.5", sent: false }), "Params Successfully Updated");
    assert.equal(await devices.paramSet(id, [{ key: "b", value: "1" }, { key: "c", value: "2" }]), "Params Successfully Updated");
    const [first] = await devices.paramList(id);
    await devices.paramSet(id, { key: "threshold", value: "30", sent: true }, first.id);
    assert.deepEqual(await devices.paramList(id, true), [{ ...first, value: "30", sent: true }]);
    assert.equal(await devices.paramRemove(id, first.id), "Successfully Removed");
    assert.equal((await devices.paramList(id)).length, 2);
  },

  async "devices: tokenCreate, tokenList, tokenDelete"() {
    const { id } = await make("mutable");
    const token = await devices.tokenCreate(id, { name: "reader", expire_time: "1 month", permission: "read", serie_number: `js-${id}` });
    assert.ok(token.expire_date instanceof Date && token.expire_date > new Date(Date.now() + 27 * 86_400_000));
    const fields = ["name", "token", "permission", "serie_number", "expire_time", "created_at", "last_authorization"];
    const rows = await devices.tokenList(id, { fields, orderBy: ["name", "asc"] });
    assert.deepEqual(rows.map((row) => row.name), ["Default", "reader"]);
    assert.ok(isRecent(rows[1].created_at) && rows[0].expire_time === "never");
    const reader = new Device({ token: token.token, region });
    assert.deepEqual(await reader.getData(), []);
    await assert.rejects(reader.sendData({ variable: "a" }), (error) => /Authorization denied/.test(String(error)));
    assert.equal((await devices.list({ serial: `js-${id}`, fields: ["id"] }))[0].id, id);
    assert.equal(await devices.tokenDelete(token.token), "Token Successfully Removed");
    await assert.rejects(reader.getData(), (error) => /Authorization denied/.test(String(error)));
  },

  async "devices: data through the account"() {
    const { id } = await make("mutable");
    assert.equal(await devices.amount(id), 0);
    assert.equal(await devices.sendDeviceData(id, { variable: "a", value: 1 }), "1 Data Added");
    assert.equal(await devices.sendDeviceData(id, [{ variable: "a", value: 2 }, { variable: "b", value: 3 }]), "2 Data Added");
    assert.equal(await devices.amount(id), 3);
    const [row] = await devices.getDeviceData(id, { variables: "b" });
    assert.equal(await devices.editDeviceData(id, { id: row.id, value: 4 }), "1 item(s) updated");
    assert.equal((await devices.getDeviceData(id, { ids: [row.id] }))[0].value, 4);
    assert.equal(await devices.deleteDeviceData(id, { variables: ["a"], qty: 10 }), "2 Data Removed");
    await devices.sendDeviceDataStreaming(id, Array.from({ length: 1500 }, (_, value) => ({ variable: "c", value })), FAST);
    assert.equal((await collected(devices.getDeviceDataStreaming(id, { variables: ["c"] }, FAST))).length, 1500);
    assert.equal(await devices.emptyDeviceData(id), "Data Successfully Removed");
    assert.equal(await devices.amount(id), 0);
  },

  async "devices: getChunk, deleteChunk, copyChunk"() {
    const { id, client } = await make("immutable");
    await client.sendData([{ variable: "a", value: 1 }, { variable: "a", value: 2 }]);
    const [chunk] = await devices.getChunk(id);
    assert.equal(chunk.amount, 2);
    const copied = await devices.copyChunk({ deviceID: id, chunkID: chunk.id, headers: true, file_address: "/js/$DEVICE$/$CHUNK$_$FROM$_$TO$" });
    assert.equal(copied.file_address, `js/${id}/${chunk.id}_${chunk.from.slice(0, 10)}_${chunk.to.slice(0, 10)}.csv`);
    assert.deepEqual([copied.status, copied.chunk_id], ["scheduled", chunk.id]);
    assert.equal((await ended(id)).rows, 2);
    assert.equal(await devices.deleteChunk(id, chunk.id), `Chunk ${chunk.id} deleted`);
    assert.deepEqual(await client.getData(), []);
  },

  async "devices: dataBackup and dataRestore"() {
    for (const type of ["mutable", "immutable"]) {
      const { id, client } = await make(type);
      await client.sendData([{ variable: "a", value: 1.5 }, { variable: "a", value: "1.5" }, { variable: "a", value: false }]);
      const chunk = type === "immutable" ? (await devices.getChunk(id))[0].id : undefined;
      const { file_address } = await devices.dataBackup({ deviceID: id, file_address: `/js/backups/${id}`, headers: true }, chunk);
      assert.equal(file_address, `js/backups/${id}.csv`);
      assert.equal((await ended(id)).state, "done");
      await devices.emptyDeviceData(id);
      assert.equal(await devices.dataRestore({ deviceID: id, file_address }), "Data import added to the queue successfully!");
      assert.deepEqual([(await ended(id)).rows, (await ended(id)).state], [3, "done"]);
      const values = (await client.getData()).map((row) => row.value);
      assert.deepEqual(new Set(values), new Set([1.5, "1.5", false]));
    }
    await assert.rejects(devices.dataRestore({ deviceID: (await make("mutable")).id, file_address: "no" }), (error) => String(error) === "File not found: no");
  },

  async "files: list, uploadBase64, move, copy, delete"() {
    assert.equal(await files.uploadBase64([{ filename: "/jsfiles/one.txt", file: "b25l", public: true }]), "Files Successfully Uploaded");
    assert.equal(await files.move([{ from: "/jsfiles/one.txt", to: "/jsfiles/a/one.txt" }]), "Successfully Updated");
    assert.equal(await files.copy([{ from: "/jsfiles/a/one.txt", to: "/jsfiles/a/two.txt" }]), "Successfully Updated");
    const first = await files.list({ path: "/jsfiles/a", quantity: 1 });
    assert.deepEqual(first.files.map((file) => [file.filename, file.size]), [["one.txt", 3]]);
    assert.ok(isRecent(first.files[0].last_modified));
    const second = await files.list({ path: "/jsfiles/a", quantity: 1, paginationToken: first.pagination_token });
    assert.deepEqual(second.files.map((file) => file.filename), ["two.txt"]);
    assert.ok((await files.list()).folders.includes("jsfiles"));
    assert.equal(await files.delete(["/jsfiles"]), "Successfully Removed");
    assert.ok(!(await files.list()).folders.includes("jsfiles"));
  },

  async "files: checkPermission, changePermission, getFileMD5, getFileURLSigned"() {
    await files.uploadBase64([{ filename: "/jsfiles/ö ne.txt", file: "b25l" }]);
    assert.deepEqual(await files.checkPermission("/jsfiles/ö ne.txt"), { public: false });
    const address = `${url}/file/000000000000000000000001/jsfiles/ö ne.txt`;
    assert.equal((await fetch(address)).status, 401);
    assert.equal(await files.getFileMD5(address), createHash("md5").update("one").digest("hex"));
    assert.equal(await (await fetch(await files.getFileURLSigned(address))).text(), "one");
    assert.equal(await files.changePermission([{ file: "/jsfiles/ö ne.txt", public: true }]), "Successfully Updated");
    assert.equal(await (await fetch(address)).text(), "one");
    await files.delete(["/jsfiles"]);
  },

  async "files: uploadFile"() {
    for (const size of [1, 6_000_000]) {
      const content = randomBytes(size);
      const progress = [];
      const { file } = await files.uploadFile(content, "/jsfiles/big.bin", { isPublic: true, chunkSize: 5 * 2 ** 20, onProgress: (part) => progress.push(part) });
      assert.deepEqual(Buffer.from(await (await fetch(file)).arrayBuffer()), content);
      assert.equal(progress.at(-1), 100);
    }
    await files.delete(["/jsfiles"]);
  },

  async "tags: getTagKeys"() {
    await make("mutable", { tags: [{ key: "js_key", value: "1" }] });
    assert.ok((await tags.getTagKeys("device")).includes("js_key"));
    assert.deepEqual(await tags.getTagKeys("dashboard"), []);
  },

  async "serviceAuthorization and network"() {
    const { id, token } = await make("mutable", { serie_number: "JS-SERIAL" });
    const gateway = await serviceAuthorization.tokenCreate({ name: "JS gateway" });
    assert.match(gateway.token, /^at[0-9a-f]{32}$/);
    const rows = await serviceAuthorization.tokenList({ filter: { name: "JS gateway" } });
    assert.deepEqual(rows.map((row) => row.token), [gateway.token]);
    const network = new Network({ token: gateway.token, region });
    assert.equal((await network.info()).name, "JS gateway");
    assert.equal(await network.resolveToken("JS-SERIAL"), token);
    assert.equal(await network.resolveToken("JS-SERIAL", gateway.token), token);
    assert.equal(await network.deviceParamSet(id, { key: "downlink", value: "ff" }), "Device Configuration Parameter Updated");
    assert.equal((await devices.paramList(id))[0].value, "ff");
    assert.equal(await serviceAuthorization.tokenDelete(gateway.token), "Token Successfully Removed");
    await assert.rejects(network.resolveToken("JS-SERIAL"), (error) => /Authorization denied/.test(String(error)));
  },

  async "account: info"() {
    const info = await new Authorization({ token: account, region }).info();
    assert.deepEqual([info.type, info.permission], ["profile", "full"]);
    const old = new Account({ token: account, region }); // the old name of Resources
    assert.ok(Array.isArray(await old.devices.list()));
  },
};

if (url === "names") {
  for (const name of Object.keys(cases)) console.log(name);
} else {
  for (const [name, run] of Object.entries(cases)) {
    let error = null;
    try {
      await run();
    } catch (thrown) {
      error = thrown?.stack ?? JSON.stringify(thrown);
    }
    console.log(JSON.stringify({ name, error }));
  }
}

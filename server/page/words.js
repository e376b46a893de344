// All that the page says, in English and in Chinese, and how numbers, sizes and times are written there.

const en = {
    title: "ferry",
    send: "Send",
    photos: "Photos",
    views: "Views",
    gateTitle: "Files go ashore here",
    gateText:
        "This is a ferry server: it takes in photos, files and folders, and proves that they arrived. To get in you need an invite link from whoever runs it.",
    gateHow: "They make one with",
    gateScan: "Scan the code with your phone, or open the link.",
    joinTitle: "Come aboard",
    joinText: (host) => `This invite lets this device send files to ${host}.`,
    joinName: "What this device is called there",
    joinAs: (name) => `It is called ${name} there.`,
    join: "Connect",
    joining: "Connecting …",
    switchTitle: "A second invite",
    switchText: (name, server) =>
        `This browser is connected to ${server} as ${name} already. The link that was opened holds another invite.`,
    switchWarn: "Use it only if it comes from somebody you trust: what you send from then on goes where it says.",
    keep: (name) => `Stay ${name}`,
    switch: "Use the new invite",
    inviteSpent:
        "This invite cannot be used: it was used already, has expired, or was never made here. Ask for a new one.",
    unreachable: "The server does not answer.",
    tryAgain: "Try again",
    connecting: "Asking the server …",
    aboard: (name) => `Connected as ${name}`,
    ashore: (folder) => `into the folder ${folder}`,
    upTo: (size) => `files up to ${size}`,
    roomLeft: (size) => `room for ${size}`,
    untilThen: (date) => `until ${date}`,
    signOut: "Sign out",
    notSignedOut: "Not signed out: the server does not answer.",
    signedOut: "Signed out. An invite link lets this browser in again.",
    mayNot: "This device may not send files to the server: its grant does not include it.",
    sendTo: (server) => `Send to ${server}`,
    promise:
        "Each file is checked, byte for byte: “arrived” means that the server has the same SHA-256, safely on its disk.",
    choose: "Choose photos or files",
    chooseFolder: "Choose a folder",
    orDrop: "or drop files and folders anywhere on this page",
    dropNow: "Let go to send",
    folder: "Into a folder (optional)",
    folderHint: "e.g. Holiday 2026",
    looking: (n) => `Looking through folders: ${n} ${plural("en", n, "file", "files")} so far`,
    comma: ", ",
    interrupted: (names, count, n) =>
        n === 1
            ? `An upload was interrupted: ${names}. Choose the same file again, into the same folder, and it goes on where it stopped.`
            : `${count} uploads were interrupted: ${names}. Choose the same files again, into the same folder, and they go on where they stopped.`,
    forget: "Forget",
    summary: "All files",
    files: "Files",
    ofFiles: (done, all, n) => `${done} of ${all} ${plural("en", n, "file", "files")}`,
    ofBytes: (done, all) => `${done} of ${all}`,
    left: (time) => `${time} left`,
    perSecond: (size) => `${size}/s`,
    pause: "Pause",
    resume: "Go on",
    retryAll: "Retry failed",
    retryNamed: (name) => `Try ${name} again`,
    removeNamed: (name) => `Remove ${name}`,
    tidy: "Clear arrived",
    waiting: "Waiting",
    checking: "Reading",
    checkingFor: (percent) => `Reading, ${percent}`,
    sending: "Sending",
    storing: "Being stored",
    arrived: "Arrived, verified",
    heldNothingSent: "Already there, nothing sent",
    failed: "Failed",
    failedFor: (why) => `Failed: ${why}`,
    nextTry: (time) => `Next try in ${time}`,
    digestOf: (digest) => `SHA-256 ${digest}`,
    storedAs: (name) => `Arrived as ${name}`,
    unreadable: "The file cannot be read. It was changed or moved after it was chosen; choose it again.",
    differs: "The server has other bytes than this file. Do not delete it here.",
    lost: "The server answered, but did not finish. Try again.",
    broken: "This page has a fault.",
    tooLarge: (size) => `Larger than the ${size} that the server takes.`,
    paused: "Paused",
    offline: "No connection. Nothing is lost: it goes on by itself.",
    offlineFor: (time) => `No connection. Nothing is lost: next try in ${time}.`,
    busy: (time) => `The server is busy: next try in ${time}.`,
    over: "The session is over: it was revoked or has expired. Open a new invite link in this tab, and what is left goes on.",
    stay: "Keep this page open until everything has arrived.",
    announceAdded: (n) => `${n} ${plural("en", n, "file", "files")} added`,
    announceNothing: "These files are in the list already.",
    allThere: "Everything has arrived",
    someFailed: (n) => `${n} ${plural("en", n, "file has", "files have")} not arrived`,
    told: (sent, held, failed, bytes, time, rate) =>
        [
            `${sent} sent${bytes ? ` (${bytes})` : ""}`,
            `${held} already there`,
            `${failed} failed`,
            rate ? `${time}, ${rate}` : time,
        ].join(" · "),
    severally: (why, n) => `${why} (${n} files)`,
    unreadFolders: (n) => `${n} ${plural("en", n, "item", "items")} could not be read`,
    folders: "Folders",
    folderNamed: (name) => `Folder ${name}`,
    items: (count, n) => `${count} ${plural("en", n, "item", "items")}`,
    tile: (name, when) => `${name}, ${when}`,
    lookingInto: "Looking into new photos …",
    emptyFolder: "Nothing is here yet",
    noFolder: "This folder is not there, or not any more.",
    noFile: "This file is not there, or not any more.",
    more: "There is more in this folder than this page shows.",
    photosOver: "The session is over: it was revoked or has expired. A new invite link lets this browser in again.",
    back: "Back to the photos",
    previous: "Previous",
    next: "Next",
    facts: "About this file",
    download: "Download",
    position: (n, all) => `${n} of ${all}`,
    noPreview: "This browser cannot show it. It can be downloaded.",
    mayNotRead: "This device may see what is there, and not read it.",
    takenAt: "Taken",
    modifiedAt: "Modified",
    camera: "Camera",
    lens: "Lens",
    exposure: "Exposure",
    fullFrame: (length) => `${length} mm in full frame`,
    dimensions: "Dimensions",
    fileSize: "Size",
    receivedAt: "Received",
    fromClient: (name) => `from ${name}`,
    noReceipt: "No receipt: it did not come as it is now",
    digest: "SHA-256",
};

const zh = {
    title: "ferry",
    send: "发送",
    photos: "照片",
    views: "页面",
    gateTitle: "文件由此上岸",
    gateText:
        "这是一台 ferry 服务器：它接收照片、文件和文件夹，并证明它们已完整送达。进入需要服务器主人给您的邀请链接。",
    gateHow: "邀请链接由此命令生成",
    gateScan: "用手机扫描二维码，或直接打开链接。",
    joinTitle: "欢迎登船",
    joinText: (host) => `此邀请允许本设备向 ${host} 发送文件。`,
    joinName: "本设备在服务器上的名称",
    joinAs: (name) => `本设备在服务器上名为 ${name}。`,
    join: "连接",
    joining: "正在连接……",
    switchTitle: "又一个邀请",
    switchText: (name, server) => `此浏览器已作为 ${name} 连接到 ${server}。刚打开的链接中是另一个邀请。`,
    switchWarn: "仅当它来自您信任的人时才使用：此后发送的文件会去往它指定的位置。",
    keep: (name) => `继续作为 ${name}`,
    switch: "使用新邀请",
    inviteSpent: "此邀请无法使用：它已被使用、已过期，或不是由这台服务器生成的。请索取新的邀请。",
    unreachable: "服务器没有响应。",
    tryAgain: "重试",
    connecting: "正在询问服务器……",
    aboard: (name) => `已作为 ${name} 连接`,
    ashore: (folder) => `存入文件夹 ${folder}`,
    upTo: (size) => `单个文件不超过 ${size}`,
    roomLeft: (size) => `剩余空间 ${size}`,
    untilThen: (date) => `有效至 ${date}`,
    signOut: "退出",
    notSignedOut: "未能退出：服务器没有响应。",
    signedOut: "已退出。打开邀请链接可再次进入。",
    mayNot: "本设备无权向服务器发送文件：其授权不包含此项。",
    sendTo: (server) => `发送到 ${server}`,
    promise: "每个文件都会逐字节核对：“已送达”表示服务器上的 SHA-256 与本机一致，并已安全写入磁盘。",
    choose: "选择照片或文件",
    chooseFolder: "选择文件夹",
    orDrop: "或将文件和文件夹拖放到本页任意位置",
    dropNow: "松开即可发送",
    folder: "存入文件夹（可选）",
    folderHint: "如：2026假期",
    looking: (n) => `正在查看文件夹：已找到 ${n} 个文件`,
    comma: "、",
    interrupted: (names, count) =>
        `有 ${count} 个上传中断：${names}。重新选择相同的文件，存入相同的文件夹，即可从中断处继续。`,
    forget: "不再继续",
    summary: "全部文件",
    files: "文件",
    ofFiles: (done, all) => `${done} / ${all} 个文件`,
    ofBytes: (done, all) => `${done} / ${all}`,
    left: (time) => `剩余 ${time}`,
    perSecond: (size) => `${size}/秒`,
    pause: "暂停",
    resume: "继续",
    retryAll: "重试失败项",
    retryNamed: (name) => `重试 ${name}`,
    removeNamed: (name) => `移除 ${name}`,
    tidy: "清除已送达",
    waiting: "等待中",
    checking: "读取中",
    checkingFor: (percent) => `读取中 ${percent}`,
    sending: "发送中",
    storing: "存储中",
    arrived: "已送达，校验一致",
    heldNothingSent: "服务器已有，无需发送",
    failed: "失败",
    failedFor: (why) => `失败：${why}`,
    nextTry: (time) => `${time}后重试`,
    digestOf: (digest) => `SHA-256 ${digest}`,
    storedAs: (name) => `已存为 ${name}`,
    unreadable: "无法读取此文件：选择之后它被更改或移动了。请重新选择。",
    differs: "服务器上的内容与此文件不同。请勿删除本地文件。",
    lost: "服务器有响应，但没有完成。请重试。",
    broken: "本页面出现故障。",
    tooLarge: (size) => `超过服务器允许的 ${size}。`,
    paused: "已暂停",
    offline: "没有连接。不会丢失任何内容，稍后自动继续。",
    offlineFor: (time) => `没有连接。不会丢失任何内容，${time}后重试。`,
    busy: (time) => `服务器繁忙，${time}后重试。`,
    over: "会话已结束：已被撤销或已过期。请在此标签页中打开新的邀请链接，剩余文件将继续发送。",
    stay: "请保持此页面打开，直到全部送达。",
    announceAdded: (n) => `已添加 ${n} 个文件`,
    announceNothing: "这些文件已在列表中。",
    allThere: "全部已送达",
    someFailed: (n) => `${n} 个文件未送达`,
    told: (sent, held, failed, bytes, time, rate) =>
        [
            `发送 ${sent} 个${bytes ? `（${bytes}）` : ""}`,
            `已存在 ${held} 个`,
            `失败 ${failed} 个`,
            rate ? `用时 ${time}，${rate}` : `用时 ${time}`,
        ].join(" · "),
    severally: (why, n) => `${why}（${n} 个文件）`,
    unreadFolders: (n) => `${n} 项无法读取`,
    folders: "文件夹",
    folderNamed: (name) => `文件夹 ${name}`,
    items: (count) => `${count} 项`,
    tile: (name, when) => `${name}，${when}`,
    lookingInto: "正在读取新照片……",
    emptyFolder: "这里还没有内容",
    noFolder: "此文件夹不存在，或已被移走。",
    noFile: "此文件不存在，或已被移走。",
    more: "此文件夹中的内容多于本页所显示的。",
    photosOver: "会话已结束：已被撤销或已过期。打开新的邀请链接可再次进入。",
    back: "返回照片",
    previous: "上一个",
    next: "下一个",
    facts: "文件信息",
    download: "下载",
    position: (n, all) => `第 ${n} 项，共 ${all} 项`,
    noPreview: "此浏览器无法显示该文件，但可以下载。",
    mayNotRead: "本设备可以查看列表，但无权读取文件。",
    takenAt: "拍摄时间",
    modifiedAt: "修改时间",
    camera: "相机",
    lens: "镜头",
    exposure: "曝光",
    fullFrame: (length) => `等效 ${length} mm`,
    dimensions: "尺寸",
    fileSize: "大小",
    receivedAt: "接收时间",
    fromClient: (name) => `来自 ${name}`,
    noReceipt: "没有收据：它并非以现在的样子送达",
    digest: "SHA-256",
};

export const languages = { en, "zh-Hans": zh };

/** The first language of the browser's that is spoken here. */
export function choose(wanted) {
    for (const tag of wanted) {
        if (/^zh\b/i.test(tag)) return "zh-Hans";
        if (/^en\b/i.test(tag)) return "en";
    }
    return "en";
}

/** The words of a language, and with them the ways in which it writes figures. */
export function speak(language) {
    const format = (options) => new Intl.NumberFormat(language, options);
    const unit = (name) => format({ style: "unit", unit: name, unitDisplay: "short", maximumFractionDigits: 0 });
    // Powers of 1000, as the programs write them.
    const sizes = ["B", "kB", "MB", "GB", "TB"];
    const digits = [format({ maximumFractionDigits: 0 }), format({ maximumFractionDigits: 1 })];
    const times = { hour: unit("hour"), minute: unit("minute"), second: unit("second") };
    const number = format({});
    const percent = format({ style: "percent" });
    const date = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });
    // Of a clock on the wall, wherever that was: see `clock` in album.js.
    const moment = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short", timeZone: "UTC" });
    const month = new Intl.DateTimeFormat(language, { month: "long", year: "numeric", timeZone: "UTC" });
    return {
        ...languages[language],
        language,
        number: (n) => number.format(n),
        /** Never 100 % before it is all. */
        percent: (part) => percent.format(part < 1 ? Math.min(part, 0.99) : 1),
        size(bytes) {
            let i = 0;
            // 999.6 kB would be written as 1,000 kB.
            while (bytes >= 999.5 && i < sizes.length - 1) [bytes, i] = [bytes / 1000, i + 1];
            return `${digits[bytes < 99.95 && i > 0 ? 1 : 0].format(bytes)} ${sizes[i]}`;
        },
        /** Two figures at most: nobody wants to know the seconds of an hour. */
        time(seconds) {
            const s = Math.max(0, Math.round(seconds));
            if (s < 60) return times.second.format(s);
            if (s < 600 && s % 60) return `${times.minute.format(Math.floor(s / 60))} ${times.second.format(s % 60)}`;
            const m = Math.round(s / 60);
            if (m < 60) return times.minute.format(m);
            return m % 60
                ? `${times.hour.format(Math.floor(m / 60))} ${times.minute.format(m % 60)}`
                : times.hour.format(m / 60);
        },
        date: (time) => date.format(new Date(time)),
        moment: (time) => moment.format(new Date(time)),
        month: (time) => month.format(new Date(time)),
        decimal: (n) => digits[1].format(n),
    };
}

function plural(language, n, one, other) {
    return new Intl.PluralRules(language).select(n) === "one" ? one : other;
}

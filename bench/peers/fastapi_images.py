"""The four routes as people write them: FastAPI, Mangum and boto3, on one table with an index by user.

What is compared with. It believes what it is told of an upload, and keeps neither lists by tag nor counts; `boto3`'s
clients are used, which are quicker to make than its resources.
"""

import datetime as dt
import os
import uuid
from typing import Annotated, Any

import boto3
from fastapi import FastAPI, File, Form, HTTPException, Query, UploadFile
from mangum import Mangum
from pydantic import BaseModel

BUCKET = os.environ["BUCKET_NAME"]
TABLE = os.environ["TABLE_NAME"]
INDEX = "by-user"

s3 = boto3.client("s3")
dynamodb = boto3.client("dynamodb")
app = FastAPI()


class Image(BaseModel):
    image_id: str
    user_id: str
    filename: str
    content_type: str
    size: int
    tags: list[str]
    created_at: str


class ImageList(BaseModel):
    images: list[Image]
    last_key: str | None


class LinkedImage(Image):
    url: str


@app.post("/images", status_code=201)
def upload(
    file: Annotated[UploadFile, File()], user_id: Annotated[str, Form()], tags: Annotated[str, Form()] = ""
) -> Image:
    data = file.file.read()
    image = Image(
        image_id=str(uuid.uuid4()),
        user_id=user_id,
        filename=file.filename or "",
        content_type=file.content_type or "",
        size=len(data),
        tags=[tag for tag in tags.split(",") if tag],
        created_at=dt.datetime.now(dt.UTC).isoformat(),
    )
    s3.put_object(Bucket=BUCKET, Key=image.image_id, Body=data, ContentType=image.content_type)
    dynamodb.put_item(TableName=TABLE, Item=_item(image))
    return image


@app.get("/images")
def list_images(
    user_id: str, limit: Annotated[int, Query(ge=1, le=100)] = 20, last_key: str | None = None
) -> ImageList:
    options: dict[str, Any] = {}
    if last_key:
        created_at, _, image_id = last_key.partition("/")
        options["ExclusiveStartKey"] = {
            "user_id": {"S": user_id},
            "created_at": {"S": created_at},
            "image_id": {"S": image_id},
        }
    answer = dynamodb.query(
        TableName=TABLE,
        IndexName=INDEX,
        KeyConditionExpression="user_id = :user",
        ExpressionAttributeValues={":user": {"S": user_id}},
        ScanIndexForward=False,
        Limit=limit,
        **options,
    )
    last = answer.get("LastEvaluatedKey")
    return ImageList(
        images=[_image(item) for item in answer["Items"]],
        last_key=f"{last['created_at']['S']}/{last['image_id']['S']}" if last else None,
    )


@app.get("/images/{image_id}")
def get_image(image_id: str) -> LinkedImage:
    item = dynamodb.get_item(TableName=TABLE, Key={"image_id": {"S": image_id}}).get("Item")
    if item is None:
        raise HTTPException(404)
    url = s3.generate_presigned_url("get_object", {"Bucket": BUCKET, "Key": image_id}, ExpiresIn=3_600)
    return LinkedImage(**_image(item).model_dump(), url=url)


@app.delete("/images/{image_id}", status_code=204)
def delete_image(image_id: str) -> None:
    dynamodb.delete_item(TableName=TABLE, Key={"image_id": {"S": image_id}})
    s3.delete_object(Bucket=BUCKET, Key=image_id)


def _item(image: Image) -> dict[str, Any]:
    values = image.model_dump()
    size, tags = values.pop("size"), values.pop("tags")
    texts = {name: {"S": value} for name, value in values.items()}
    return texts | {"size": {"N": str(size)}, "tags": {"L": [{"S": tag} for tag in tags]}}


def _image(item: dict[str, Any]) -> Image:
    texts = {name: value["S"] for name, value in item.items() if "S" in value}
    return Image(**texts, size=int(item["size"]["N"]), tags=[tag["S"] for tag in item["tags"]["L"]])


lambda_handler = Mangum(app, lifespan="off")
